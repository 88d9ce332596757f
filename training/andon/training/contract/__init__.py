"""Checks that every detector must pass, as public functions."""
