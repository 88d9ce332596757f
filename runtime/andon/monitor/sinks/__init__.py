"""One file a sink, each ending in a `SINK` record."""
