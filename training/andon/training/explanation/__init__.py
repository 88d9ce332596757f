"""Explain a rejected frame by the good parts of the training."""
