"""How detectors are fitted: loops, losses, and the data they see."""
