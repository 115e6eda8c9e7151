"""Accuracy, localisation, results."""
