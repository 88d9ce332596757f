"""What scores of good parts allow one to say. Sees scores, never networks; numpy, scipy."""
