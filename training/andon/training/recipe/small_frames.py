"""The size at which detectors see small frames: unchanged if the network supports it, else reduced."""

from msgspec import Meta

from andon.sources.collection import FoundFrames

SIDE = 64
"""Side of reduced frames in pixels, if no size is set."""
SIZE = Meta(
    description=(
        f"side of the square that the network sees; none: frames up to {SIDE} x {SIDE} keep their size, larger ones become "
        f"{SIDE} x {SIDE}"
    ),
    extra={"unit": "px"},
)
"""Annotation of the setting `size` in all detectors that see small frames this way."""


def size_seen(found: FoundFrames, asked: int | None) -> tuple[int, int]:
    """Return height and width of what the network sees.

    Args:
        found: description of the data.
        asked: side of a square in pixels. With None, frames up to 64 x 64 keep their size. Larger frames, and frames of
        different sizes, become 64 x 64.
    """
    if asked is not None:
        return asked, asked
    if found.frame_size is not None and max(found.frame_size) <= SIDE:
        return found.frame_size
    return SIDE, SIDE
