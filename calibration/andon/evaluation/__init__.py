"""How well a model file does where the truth is known. Extra `evaluate`; the runtime does not need it."""
