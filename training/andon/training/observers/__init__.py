"""Observers of a training run: pictures, snapshots, checkpoints, AUROC of watched parts. They never change the training."""
