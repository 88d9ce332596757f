"""Time series: tables, logs, grids, windows and their truth."""
