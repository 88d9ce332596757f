"""The keys of what --json prints, as a text that can be kept."""

from collections.abc import Iterator


def keys_of(value: object, path: str = "") -> Iterator[str]:
    """Dotted keys of nested objects, e.g. ``calibration.alpha``; lists are looked into by their first member."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from keys_of(inner, f"{path}{key}.")
    elif isinstance(value, list) and value:
        yield from keys_of(value[0], path)
