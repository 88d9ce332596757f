"""Data sets with labelled classes. Some classes count as good."""
