"""The stages of a run: what each reads, what decides its result, and who computes it."""
