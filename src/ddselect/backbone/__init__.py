"""Diffusion priors behind one interface."""
