"""What a model file says of itself: typed structs for the metadata key ``andon``.

The JSON is canonical (sorted keys, ASCII, no NaN). `SCHEMA` is ``[major, minor]``: a reader refuses another major and
ignores unknown fields of a higher minor; a field once published never changes its meaning. The threshold and the tail
of scores are not here: they stand in the graph, and only there (`docs/model-file.md`). Fields that are marked "reserved" have
their final type and bounds, and nothing writes them yet.
"""

import math
from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from andon.runtime.calibration_facts import (
    Calibration,
    Count,
    Fraction,
    Positive,
    Precision,
    Provider,
    Sha256,
    ShortText,
)

SCHEMA = (1, 1)
TAIL_KNOTS = 256
"""Length of `andon.tail_x`; `andon.tail_p` is one longer."""

TOLERANCE = 1e-4
"""`Card.tolerance` of float32 graphs, and of files of schema 1.0, which do not state it."""

Side = Annotated[int, Meta(ge=1, le=1_000_000)]
"""A length in pixels."""


class Status(IntEnum):
    """A verdict. The numbers are ordered so that the status of a part is the maximum over its frames."""

    OK = 0
    REVIEW = 1
    INVALID = 2
    REJECT = 3

    def __str__(self) -> str:
        """Return the name; numeric formats and JSON keep the number."""
        return self.name


class Reason(IntEnum):
    """Why a verdict is INVALID. Codes below 64 come from the graph, those from 64 on from what feeds it.

    3, 4 and 71 to 83 are reserved: nothing gives them yet.
    """

    NONE = 0
    NOT_FINITE = 1
    NO_CONTRAST = 2
    OTHER_SCENE = 3
    OUTSIDE_TRAINING = 4
    UNREADABLE = 64
    GAP = 65
    STALE = 66
    WARMING = 67
    WRONG_INPUT = 68
    LOST = 69
    FAILED = 70
    FROZEN = 71
    BLACK = 72
    OVEREXPOSED = 73
    BLURRED = 74
    TORN = 75
    SMEARED = 76
    PARTLY_FROZEN = 77
    RESIZED = 78
    CORRUPT = 79
    STUCK = 80
    MISSING_CHANNEL = 81
    OUT_OF_RANGE = 82
    WRONG_RATE = 83
    OTHER = 255
    """A reason that this andon does not know: a file of a newer one gives it."""

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        """Map an unknown reason of a newer file to `OTHER`: judging must go on, and the status is INVALID in any case."""
        return cls.OTHER if isinstance(value, int) and 0 < value < 256 else None

    def __str__(self) -> str:
        """Return the name; numeric formats and JSON keep the number."""
        return self.name

    @property
    def text(self) -> str:
        """Return the reason in words, for people."""
        return _REASON_TEXTS[self]

    @property
    def code(self) -> str:
        """Return a stable name for machines: ``no_contrast``; empty for `NONE`."""
        return self.name.lower() if self else ""


_REASON_TEXTS = {
    Reason.NONE: "",
    Reason.NOT_FINITE: "values that are not finite numbers",
    Reason.NO_CONTRAST: "no contrast: a covered lens, a lamp off, or an empty frame",
    Reason.OTHER_SCENE: "another scene: unlike every good part, as a whole",
    Reason.OUTSIDE_TRAINING: "a value, spread or rate far outside the training range",
    Reason.UNREADABLE: "unreadable: damaged or not a picture",
    Reason.GAP: "samples missing within the window",
    Reason.STALE: "no fresh data from the source",
    Reason.WARMING: "not enough samples since the start or the last gap",
    Reason.WRONG_INPUT: "not what the model file was calibrated for: another size, type or channels",
    Reason.FAILED: "could not be judged: an error, which the log tells",
    Reason.FROZEN: "frozen: the camera repeats a frame",
    Reason.BLACK: "black: nearly no light",
    Reason.OVEREXPOSED: "over-exposed: large parts of the frame are white",
    Reason.BLURRED: "blurred: out of focus or moved",
    Reason.TORN: "torn: parts of two frames in one",
    Reason.SMEARED: "smeared: many rows repeat the row above",
    Reason.PARTLY_FROZEN: "partly frozen: some rows of the frame do not change",
    Reason.RESIZED: "resized: another size or type than the first frame",
    Reason.CORRUPT: "corrupt: the decoder reported an error",
    Reason.STUCK: "stuck: a channel repeats one value",
    Reason.MISSING_CHANNEL: "a channel is missing",
    Reason.OUT_OF_RANGE: "a channel is outside the range that it can measure",
    Reason.WRONG_RATE: "samples arrive at another rate than expected",
    Reason.LOST: "seen by the source but never read whole",
    Reason.OTHER: "a reason that this andon does not know: update andon",
}


class Mask(Struct, frozen=True, kw_only=True):
    """Pixels of a frame, by their digest. The graph holds the pixels. Reserved."""

    sha256: Sha256
    """Over one byte a pixel, 0 or 1, row by row, of the whole frame."""
    frame_size: tuple[Side, Side]
    """Height and width of the frames that the mask belongs to. It is void for every other size."""
    share: Fraction
    """Share of the frame's pixels that it marks."""
    outline: Annotated[
        tuple[Annotated[tuple[tuple[Fraction, Fraction], ...], Meta(min_length=3, max_length=256)], ...],
        Meta(max_length=64),
    ] = ()
    """Polygons around the marked pixels, x and y as fractions of the frame: for drawings, never for verdicts."""


class Tiles(Struct, frozen=True, kw_only=True):
    """How the graph cuts a frame into overlapping tiles of the network's `size`. Reserved."""

    rows: Annotated[int, Meta(ge=1, le=256)]
    columns: Annotated[int, Meta(ge=1, le=256)]
    overlap: Annotated[int, Meta(ge=0, le=4096)]
    """Pixels that two neighbours share, as the network sees them."""
    chunk: Annotated[int, Meta(ge=1, le=65536)]
    """Tiles that the network judges at once."""


class SceneCheck(Struct, frozen=True, kw_only=True):
    """A check in the graph that the scene as a whole is like that of good parts; other frames are INVALID. Reserved.

    Its centre, scale and limits are initialisers that calibration rewrites (`model_file.format.SCENE_TENSORS`).
    """

    features: Annotated[int, Meta(ge=1, le=65536)]
    """Length of `andon.scene_center`, and of `andon.scene_scale` where the graph has it."""
    limits: Annotated[int, Meta(ge=1, le=16)]
    """Length of `andon.scene_limit`: one limit a measure."""
    cells: tuple[Annotated[int, Meta(ge=1, le=256)], Annotated[int, Meta(ge=1, le=256)]] | None = None
    """Rows and columns of the coarse picture."""
    quantile: Fraction
    """Share of good parts that the limits were set to pass."""
    n: Count
    """Good parts that centre and limits were fitted to. They do not set the threshold."""
    active: bool = True
    """False where the user switched the check off: the limits are then beyond every value."""


class Range(Struct, frozen=True, kw_only=True):
    """Lowest and highest value in the training part. Reserved."""

    low: float
    high: float


class FrameSpec(Struct, frozen=True, tag="frame", tag_field="kind", kw_only=True):
    """What a frame must be, and how the graph prepares it: crop, resize to `size`, ``(grey level - mean) / scale``."""

    channels: Literal[1, 3]
    size: tuple[Annotated[int, Meta(ge=8)], Annotated[int, Meta(ge=8)]]
    """Height and width, in pixels, that the network sees."""
    crop: tuple[Fraction, Fraction, Fraction, Fraction] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right, bottom, as fractions of the frame."""
    resize: Literal["fast", "exact"] = "fast"
    mean: float = 0.0
    """Grey levels, 0 to 255."""
    scale: Positive = 255.0
    min_contrast: Annotated[float, Meta(ge=0.0)] = 2.0
    """A prepared frame whose grey levels have a smaller standard deviation is INVALID."""
    frame_size: tuple[int, int] | None = None
    """Height and width, in pixels, of the calibrated frames; None where they differed."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """Type of the raw frame. ``uint16`` is reserved."""
    black: Annotated[float, Meta(ge=0.0, le=65535.0)] = 0.0
    """Raw level that is grey level 0. Reserved."""
    white: Annotated[float, Meta(gt=0.0, le=65535.0)] = 255.0
    """Raw level that is grey level 255. Reserved."""
    ignore: Mask | None = None
    """Pixels that never count. Reserved."""
    region: Mask | None = None
    """Pixels that alone count. Reserved."""
    tiles: Tiles | None = None
    scene: SceneCheck | None = None


class Channel(Struct, frozen=True, kw_only=True):
    """One sensor channel. The graph computes ``clip((value - center) / scale, -clip, clip)`` with the spec's `clip`.

    It adds the square of what lies beyond the clip to the score, so that a value far outside never looks like one at the clip.
    """

    name: str
    unit: str = ""
    low: float | None = None
    """Lowest value in the training part, in `unit`."""
    high: float | None = None
    center: float = 0.0
    scale: Positive = 1.0
    resample: Literal["mean", "linear", "hold"] = "linear"
    max_gap_s: Positive | None = None
    """Longest hole that resampling may bridge; None: three periods."""
    max_hold_s: Positive | None = None
    """Oldest sample that ``hold`` may repeat; None: three periods."""
    spread: Range | None = None
    """Standard deviation within a window, in `unit`. Reserved."""
    rate: Range | None = None
    """Change from one step to the next, in `unit`. Reserved."""


class Context(Struct, frozen=True, kw_only=True):
    """A channel that chooses how the graph standardises the others, such as a recipe number or a speed. Reserved."""

    channel: ShortText
    """Name of one of the window's channels."""
    by: Literal["value", "range"]
    """``value``: `bounds` lists the known values. ``range``: `bounds` are the ascending limits between the states."""
    bounds: Annotated[tuple[float, ...], Meta(min_length=1, max_length=256)]


class WindowSpec(Struct, frozen=True, tag="window", tag_field="kind", kw_only=True):
    """What a window must be: `steps` rows over a grid of `period_s`, one column a channel, raw sensor units."""

    steps: Annotated[int, Meta(ge=1)]
    hop: Annotated[int, Meta(ge=1)]
    period_s: Positive
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)]
    clip: Positive = 10.0
    detrend: Literal["none", "mean", "line"] = "none"
    """What the graph subtracts from each channel of a window: nothing, its mean, or a straight line. Reserved but ``none``."""
    context: Context | None = None


InputSpec = FrameSpec | WindowSpec


class ScoreRule(Struct, frozen=True, kw_only=True):
    """How a detector's evidence becomes the deciding score.

    Either `map` (smoothed by a Gaussian of `smooth` cells where that is above 0, then pooled) or `score` is named.
    """

    map: str | None = None
    score: str | None = None
    pool: Literal["mean", "max", "top"] = "mean"
    share: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.01
    """The share of highest values whose mean is taken where `pool` is ``top``."""
    smooth: Annotated[float, Meta(ge=0.0)] = 0.0
    """Standard deviation of the Gaussian in cells of the map; frames only."""


class Weights(Struct, frozen=True, kw_only=True):
    """Where the pretrained weights within the file come from."""

    name: str
    licence: str
    sha256: str
    source: str = ""


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The metadata key ``andon``: what the file is, how its input is prepared, what it promises."""

    schema: tuple[int, int] = SCHEMA
    name: str
    detector: str
    detector_version: int = 1
    settings: dict[str, Any] = {}
    """The detector's settings: opaque to the runtime."""
    checkpoint_epoch: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """Epoch whose weights these are; None: those that training kept."""
    notes: Annotated[tuple[ShortText, ...], Meta(max_length=20)] = ()
    """What the detector says about its settings, for people."""
    input: InputSpec
    reading: ScoreRule
    outputs: tuple[str, ...] = ()
    """Evidence outputs, after the five that every file has."""
    calibration: Calibration | None = None
    data_fingerprint: str = ""
    """Digest over the keys and contents of the good parts that were trained on."""
    weights: tuple[Weights, ...] = ()
    versions: dict[str, str] = {}
    precision: Precision = "float32"
    provider: Provider = "cpu"
    """Provider class that the threshold was calibrated on."""
    tolerance: Annotated[float, Meta(gt=0.0, le=0.1)] = TOLERANCE
    """Largest difference of a score between machines, relative to ``max(|score|, median |score| of good parts)``."""
    memory_mb: Positive | None = None
    """Largest memory of a process that judges with the file. Reserved."""


def canonical_json(value: object) -> bytes:
    """Encode as JSON with sorted keys, ASCII only and without spaces.

    Raises:
        ValueError: on NaN or an infinity, which JSON does not have.
    """
    import json

    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def json_number(value: float) -> float | None:
    """Return a number as JSON can hold it: None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None
