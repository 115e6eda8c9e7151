"""Distilled sets out of the store, in forms that other programs read."""
