"""How large small frames are seen: as they are, where a network can bear it; larger ones are made smaller."""

from msgspec import Meta

from andon.sources.collection import FoundFrames

SIDE = 64
"""Of larger frames, in pixels, where no size is asked for."""
SIZE = Meta(
    description=f"side of what is looked at; where not given, frames up to {SIDE} x {SIDE} stay as they are, larger ones "
    f"become {SIDE} x {SIDE}",
    extra={"unit": "px"},
)
"""Of the setting `size` of all detectors that see small frames so."""


def size_seen(found: FoundFrames, asked: int | None) -> tuple[int, int]:
    """Height and width of what the network sees.

    Args:
        found: the data.
        asked: side of a square, in pixels; None: frames up to 64 x 64 stay as they are, others, and those whose sizes differ,
            become 64 x 64.
    """
    if asked is not None:
        return asked, asked
    if found.frame_size is not None and max(found.frame_size) <= SIDE:
        return found.frame_size
    return SIDE, SIDE
