"""Choose the tiles for large frames, and estimate what they cost, before anything is trained.

A tile has the size of the network's input. Its overlap with the next one is about an eighth of that, so that a defect on the
border of a tile is inside its neighbour.
"""

import math
import re

from msgspec import Struct, structs

from andon.export.tile_grid import canvas
from andon.export.tile_masks import kept_tiles
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, Tiles
from andon.training.nets.backbones import MULTIPLE

AUTO = "auto"
PATTERN = r"^(auto|[1-9][0-9]{0,2}x[1-9][0-9]{0,2})$"
"""Form of the setting: ``auto``, or rows x columns."""
OVERLAP = 0.125
"""Smallest overlap of two neighbours, as a share of their side. It is rounded up to a multiple of 32."""
SMALLEST_SCALE = 0.95
"""Smallest scale with ``auto``: frames may be reduced by 5 % if this saves a row or a column of tiles."""
LARGEST_SCALE = 1.5
"""Scale from which given numbers of rows and columns are refused, because they would enlarge the frame."""
MOST_ROWS = 256
CHUNK_PIXELS = 1_100_000
"""Largest number of pixels that the network processes at once: 7 tiles of 384 x 384.

With 13 of them, 4096 x 3000 frames need 600 MB instead of about 400 MB and are judged no faster (docs/lab-log.md).
"""
SECONDS_PER_PIXEL = 2.1e-7
"""Time of `patchcore` with three taps and 2 000 rows on one core, measured (docs/results.md)."""
BYTES_PER_PIXEL, BASE_BYTES = 220, 140e6
"""Memory of a process that judges: bytes for each pixel of a chunk, and the rest without the frame. Measured as well."""


class Cost(Struct, frozen=True, kw_only=True):
    """Rough estimates of the cost of judging a frame."""

    tiles: int
    """Number of tiles that are judged: those with a pixel that counts."""
    seconds: float
    """On one core, as in docs/results.md."""
    memory_mb: float


def tiles_for(asked: str, frame_size: tuple[int, int], size: tuple[int, int]) -> Tiles | None:
    """Return the tiles for frames of one size, or None if one tile would cover the frame.

    Args:
        asked: ``auto`` keeps the pixels of the frame at about their size. ``3x4`` gives 3 rows of 4 tiles.
        frame_size: height and width of the frames.
        size: height and width of a tile.

    Raises:
        ConfigError: the numbers of rows and columns do not fit the frames.

    >>> tiles_for("auto", (3000, 4096), (384, 384))
    Tiles(rows=9, columns=12, overlap=64, chunk=6)
    """
    overlap = MULTIPLE * math.ceil(OVERLAP * min(size) / MULTIPLE)
    if asked == AUTO:
        counts = [
            max(1, math.ceil((SMALLEST_SCALE * length - overlap) / (side - overlap)))
            for length, side in zip(frame_size, size, strict=True)
        ]
    else:
        if re.fullmatch(PATTERN, asked) is None:
            raise ConfigError(f"--tile: expected auto, or rows x columns such as 3x4, got {asked!r}.")
        counts = [int(count) for count in asked.split("x")]
    rows, columns = counts
    if max(counts) > MOST_ROWS:
        raise ConfigError(f"--tile: expected at most {MOST_ROWS} rows and columns, got {rows} x {columns}.")
    if rows * columns == 1:
        if asked == AUTO:
            return None
        raise ConfigError("--tile: expected more than one tile, got 1x1. Leave out --tile.")
    most = max(1, CHUNK_PIXELS // (size[0] * size[1]))
    chunk = math.ceil(columns / math.ceil(columns / most))
    tiles = Tiles(rows=rows, columns=columns, overlap=overlap, chunk=chunk)
    if asked != AUTO:
        _refuse_enlarging(tiles, frame_size, size)
    return tiles


def cost_of(tiles: Tiles | None, frame_size: tuple[int, int], spec: FrameSpec) -> Cost:
    """Return the cost of judging a frame. Tiles without a pixel that counts cost nothing."""
    pixels = spec.size[0] * spec.size[1]
    count = 1 if tiles is None else len(kept_tiles(structs.replace(spec, tiles=tiles)))
    chunk = 1 if tiles is None else tiles.chunk
    frame = frame_size[0] * frame_size[1] * spec.channels * (2 if spec.dtype == "uint16" else 1)
    passes = count if tiles is None else count + 1  # the checks see the whole frame as one more tile
    return Cost(
        tiles=count,
        seconds=SECONDS_PER_PIXEL * pixels * passes,
        memory_mb=1e-6 * (BASE_BYTES + frame + BYTES_PER_PIXEL * chunk * pixels),
    )


def cost_text(tiles: Tiles, frame_size: tuple[int, int], spec: FrameSpec) -> str:
    """Return the cost of tiles in words."""
    cost = cost_of(tiles, frame_size, spec)
    whole = canvas(spec, tiles)
    scale = min(side / length for side, length in zip(whole, frame_size, strict=True))
    every = tiles.rows * tiles.columns
    judged = f", of which {cost.tiles} have pixels that count" if cost.tiles < every else ""
    return (
        f"{tiles.rows} x {tiles.columns} tiles of {spec.size[0]} x {spec.size[1]} px that overlap by {tiles.overlap} px{judged}, "
        f"with the frame at {scale:.0%} of its size. A frame takes about {cost.tiles + 1} times as long as one without tiles "
        f"(roughly {_rounded(cost.seconds)} s on one core) and roughly {_rounded(cost.memory_mb)} MB of memory"
    )


def _refuse_enlarging(tiles: Tiles, frame_size: tuple[int, int], size: tuple[int, int]) -> None:
    whole = canvas(FrameSpec(channels=1, size=size), tiles)
    scales = [side / length for side, length in zip(whole, frame_size, strict=True)]
    if max(scales) > LARGEST_SCALE:
        raise ConfigError(
            f"--tile: {tiles.rows}x{tiles.columns} tiles of {size[0]} x {size[1]} pixels would enlarge frames of "
            f"{frame_size[0]} x {frame_size[1]} (height x width) {max(scales):.1f} times. Give fewer rows or columns, "
            "or --tile auto."
        )


def _rounded(value: float) -> float:
    """Round to two significant digits."""
    digits = 1 - math.floor(math.log10(value))
    rounded = round(value, digits)
    return int(rounded) if digits <= 0 else rounded
