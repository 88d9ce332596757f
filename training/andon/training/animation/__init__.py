"""Animations of a training: snapshots of its epochs, drawn later as GIF or MP4."""
