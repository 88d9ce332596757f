"""Errors, settings, plug-in registry and other basics that every layer uses. Needs msgspec only."""
