"""Difference maps and boxes."""
