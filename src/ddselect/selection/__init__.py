"""Rankings of crops and whole images."""
