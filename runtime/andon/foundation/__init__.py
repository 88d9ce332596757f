"""Errors, settings, plug-in registry and other basics that every layer uses. It depends on msgspec only."""
