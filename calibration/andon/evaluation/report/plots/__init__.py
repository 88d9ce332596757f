"""Draw the plots of the evaluation report, one kind of plot per module."""
