"""Soft labels."""
