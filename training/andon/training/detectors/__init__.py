"""One file per detector, in reading order: settings, network, loss, fit, score rule. Each ends with a `RECIPE` record."""
