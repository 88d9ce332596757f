"""Turn the scores of good parts into a threshold and a promise. Works on scores, never on networks; needs numpy and scipy."""
