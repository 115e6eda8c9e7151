"""The walk through the stages, and the dry run."""
