"""Training runs: train, run folder, checkpoints, export."""
