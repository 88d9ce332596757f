"""Write the evaluation report: one page with its tables and pictures."""
