"""Which boxes of a scored image are candidates."""
