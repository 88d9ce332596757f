"""Triggers that begin parts, one module each."""
