"""Serve metrics, health checks and the status of a monitor over HTTP."""
