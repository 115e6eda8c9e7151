"""Training a student on a distilled set."""
