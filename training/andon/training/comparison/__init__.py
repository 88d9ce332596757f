"""Comparison of detectors over settings, data sets and seeds: one folder per cell, and a table made from the folders."""
