"""Evaluate a model file on data with known labels. Needs the extra `evaluate`; the runtime does not need this package."""
