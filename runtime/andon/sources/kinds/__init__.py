"""One file a source, each ending in a `SOURCE` record."""
