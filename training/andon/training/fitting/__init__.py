"""Training of detectors: loops, losses and the data that they use."""
