"""Detectors side by side: settings, data sets and seeds; one folder a cell, and the table from the folders."""
