"""Sources that never end: reconnecting readers, watched folders."""
