"""Drawing: style, labels, contact sheets. It needs matplotlib, which is imported inside functions."""
