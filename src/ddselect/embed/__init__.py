"""How candidates are embedded, for clustering within a class."""
