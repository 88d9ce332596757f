"""Checks that all detectors must pass, as public functions, and synthetic data for them."""
