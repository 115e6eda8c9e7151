"""How many draws a prior and a dataset need: a small expensive scoring, and cheap ones beside it."""
