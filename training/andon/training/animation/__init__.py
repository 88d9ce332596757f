"""Animations of a training: what was seen epoch by epoch, drawn afterwards as GIF or MP4."""
