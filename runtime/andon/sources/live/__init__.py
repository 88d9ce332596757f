"""Sources without an end: cameras with reconnection, and watched folders."""
