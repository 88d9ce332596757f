"""Audit stored verdicts: the promise by line, day and lot, the difference between two models, and the drift of scores."""
