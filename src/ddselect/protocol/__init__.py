"""How students are trained and tested."""
