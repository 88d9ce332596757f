"""Data sets with labelled classes, of which some count as good."""
