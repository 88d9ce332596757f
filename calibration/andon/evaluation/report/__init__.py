"""The evaluation report: one page, its tables and its pictures."""
