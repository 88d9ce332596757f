"""One file a detector, read top to bottom: settings, network, loss, fit, reading; each ends in a `RECIPE` record."""
