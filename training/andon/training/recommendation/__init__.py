"""Recommend a detector for the good parts of a user and a limit of time for each frame."""
