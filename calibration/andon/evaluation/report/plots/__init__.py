"""The plots of the evaluation report, one kind a file."""
