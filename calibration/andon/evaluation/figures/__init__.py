"""Figures over judged parts, pixels, windows and events, with their confidence intervals."""
