"""How well a model file does where the truth is known. Extra `evaluate`; the rest of calibration does without it."""
