"""Evaluate a model file on data whose truth is known. Needs the extra `evaluate`; the runtime does not need this package."""
