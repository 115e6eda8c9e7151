"""Sweeps: each job a process of its own, what they found together as one page and one table."""
