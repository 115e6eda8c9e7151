"""Which two conditions are compared."""
