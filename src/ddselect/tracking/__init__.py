"""Following a run on Weights & Biases: one run there, to which every stage logs under its own name."""
