"""How andon draws: style, labels, contact sheets. Needs matplotlib, imported inside functions."""
