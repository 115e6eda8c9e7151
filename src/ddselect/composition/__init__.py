"""Patches into distilled images."""
