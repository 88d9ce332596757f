"""One file a detector, read top to bottom: settings, network, loss, fit, score rule; each ends in a `RECIPE` record."""
