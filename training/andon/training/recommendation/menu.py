"""The short menu of candidates. Its order has no influence on the choice.

The menu is short on purpose. Synthetic defects rank a few sound recipes well, but not many settings: the best of 97 settings on
synthetic defects was bad on real ones (docs/lab-log.md).
"""

from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.training.fitting.frame_masks import NO_MASKS, Masks, with_pixels
from andon.training.recipe.tiling import AUTO, cost_of, tiles_for

MENU = (
    "pixel_knn",
    "patchcore --preset fast",
    "patchcore",
    "patchcore --length soft",
    "patchcore --preset fine",
)
"""Candidates as `parse_detector` reads them. The first one is the baseline."""
TILED = "patchcore --tile"
LARGE = 2.0
"""Factor from which frames count as clearly larger than the network's input. Smaller ones lose little detail."""
_SIZE = (384, 384)
"""Size of a tile of `TILED`: the preset ``standard``."""


def menu_for(found: FoundFrames, budget_ms: float, masks: Masks = NO_MASKS) -> tuple[str, ...]:
    """Return the menu for these frames. Large frames of one size get a candidate with tiles in addition.

    It keeps the frames at their size, if the estimated time allows that. Otherwise it has as many tiles as the budget allows,
    or it is left out. Tiles without a pixel that counts take no time. The measured time decides in any case.

    >>> frames = FoundFrames(channels=3, frame_size=(1080, 1920), largest=(1080, 1920))
    >>> menu_for(frames, 1000)[-1], menu_for(frames, 400)[-1], menu_for(frames, 30)[-1]
    ('patchcore --tile auto', 'patchcore --tile 3x4', 'patchcore --preset fine')
    """
    grid = _grid(found, budget_ms, masks)
    return MENU if grid is None else (*MENU, f"{TILED} {grid}")


def _grid(found: FoundFrames, budget_ms: float, masks: Masks) -> str | None:
    frame = found.frame_size
    if frame is None or max(side / seen for side, seen in zip(frame, _SIZE, strict=True)) < LARGE:
        return None
    spec = with_pixels(FrameSpec(channels=1 if found.channels == 1 else 3, size=_SIZE, dtype=found.dtype), masks)
    finest = tiles_for(AUTO, frame, _SIZE)
    if finest is None:
        return None
    for rows in range(finest.rows, 0, -1):
        columns = max(1, round(rows * finest.columns / finest.rows))
        if rows * columns > 1:
            text = AUTO if rows == finest.rows else f"{rows}x{columns}"
            if 1000 * cost_of(tiles_for(text, frame, _SIZE), frame, spec).seconds <= budget_ms:
                return text
    return None
