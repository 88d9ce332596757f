"""Typed structs of a model file's card, which is stored under the metadata key ``andon``.

The JSON is canonical (sorted keys, ASCII, no NaN). `SCHEMA` is ``[major, minor]``. A reader refuses another major and
ignores unknown fields of a higher minor. A published field never changes its meaning. The threshold and the tail of scores
are stored in the graph only (`docs/model-file.md`). Fields marked "reserved" have their final type and bounds, and nothing
writes them yet.
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
    Range,
    Sha256,
    ShortText,
)

SCHEMA = (1, 1)
TAIL_KNOTS = 256
"""Length of `andon.tail_x`; `andon.tail_p` is one longer."""

TOLERANCE = 1e-4
"""`Card.tolerance` of float32 graphs, and of files of schema 1.0, which have no such field."""

SCENE_FEATURES, RAW_SCORE = "scene_features", "raw_score"
"""Outputs that are not evidence: the features of the scene, and the score of every item before a check changes it.

A file with a scene check has both. The output `score` is NaN where this check makes a frame INVALID. `raw_score` is not, so
that the golden sample can be compared. Calibration needs the features to fit the scene check again. A file with a check for
windows far outside the good ones has `raw_score`, because that check raises `score` above the threshold.
"""
Side = Annotated[int, Meta(ge=1, le=1_000_000)]
"""A length in pixels."""
PACKED_MASK = 200_000
"""Largest number of characters of `Mask.pixels`."""


class Status(IntEnum):
    """Outcome of a verdict. The numbers are ordered so that the status of a part is the maximum over its frames."""

    OK = 0
    """The score is at most the threshold, and not within a review band."""
    REVIEW = 1
    """The score is within the review band, just below the threshold. Most files have no such band (`export --review`)."""
    INVALID = 2
    """The item could not be judged. `Verdict.reason` gives the reason."""
    REJECT = 3
    """The score is above the threshold."""

    def __str__(self) -> str:
        """Return the name; numeric formats and JSON keep the number."""
        return self.name


class Reason(IntEnum):
    """Reason why a verdict is INVALID, or why it is REJECT without regard to the score.

    `OUTSIDE_TRAINING` is the only reason of a REJECT: the window is far outside the good windows. With INVALID, it means that
    the context channel has a value that the training set does not have, so that nothing can be compared. Codes below 64 come
    from the graph, codes from 64 on from the source or the runtime.
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
    LATE = 84
    OTHER = 255
    """A reason of a newer version that this version of andon does not know."""

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        """Map an unknown reason of a newer file to `OTHER`. Judging must continue; the status is INVALID in any case."""
        return cls.OTHER if isinstance(value, int) and 0 < value < 256 else None

    def __str__(self) -> str:
        """Return the name; numeric formats and JSON keep the number."""
        return self.name

    @property
    def text(self) -> str:
        """The reason in readable words. Empty for `NONE`."""
        return _REASON_TEXTS[self]

    @property
    def code(self) -> str:
        """Stable name for programs, for example ``no_contrast``. Empty for `NONE`."""
        return self.name.lower() if self else ""


_REASON_TEXTS = {
    Reason.NONE: "",
    Reason.NOT_FINITE: "not finite: some values are NaN or infinite",
    Reason.NO_CONTRAST: "no contrast: a covered lens, a lamp off, or an empty frame",
    Reason.OTHER_SCENE: "another scene: the whole frame is unlike good parts (dark, covered, out of focus, turned or empty)",
    Reason.OUTSIDE_TRAINING: "outside training: a value, spread, rate or context is far outside the good windows",
    Reason.UNREADABLE: "unreadable: damaged or not a picture",
    Reason.GAP: "gap: samples are missing within the window",
    Reason.STALE: "stale: no new data from the source",
    Reason.WARMING: "warming: too few samples since the start or the last gap",
    Reason.WRONG_INPUT: "wrong input: the model file expects another size, type or number of channels",
    Reason.FAILED: "failed: an error during judging, see the log",
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
    Reason.MISSING_CHANNEL: "missing channel: a channel is absent",
    Reason.OUT_OF_RANGE: "out of range: a channel is outside the range that its sensor can measure",
    Reason.WRONG_RATE: "wrong rate: samples arrive at another rate than expected",
    Reason.LATE: "late: the verdict was not ready at its deadline",
    Reason.LOST: "lost: the source detected the item but could not read all of it",
    Reason.OTHER: "unknown reason of a newer version: update andon",
}


class Mask(Struct, frozen=True, kw_only=True):
    """A mask over the pixels of a frame, identified by its digest. The graph decides with its own copy of the pixels."""

    sha256: Sha256
    """Digest of the mask: one byte per pixel, 0 or 1, row by row, over the whole frame."""
    frame_size: tuple[Side, Side]
    """Height and width of the frames that the mask belongs to. The mask is invalid for other sizes."""
    share: Fraction
    """Share of the frame's pixels that the mask marks."""
    outline: Annotated[
        tuple[Annotated[tuple[tuple[Fraction, Fraction], ...], Meta(min_length=3, max_length=256)], ...],
        Meta(max_length=64),
    ] = ()
    """Polygons around the marked pixels, x and y as fractions of the frame. For drawings only, not for verdicts."""
    pixels: Annotated[str, Meta(max_length=PACKED_MASK)] = ""
    """The pixels: lengths of runs, unmarked and marked in turn, as uint32 (little-endian), deflated (zlib), in base64.

    For drawings and figures (`mask_pixels.unpack`). Empty in files that state only the digest.
    """


class Tiles(Struct, frozen=True, kw_only=True):
    """Overlapping tiles of the network's `size` into which the graph cuts frames of the size `FrameSpec.frame_size`.

    The graph resizes a frame to ``rows * (height - overlap) + overlap`` by ``columns * (width - overlap) + overlap`` pixels and
    cuts it. The maps of the tiles are blended linearly where they overlap. The score rule pools the part of the map that a tile
    covers, and the largest result decides.
    """

    rows: Annotated[int, Meta(ge=1, le=256)]
    columns: Annotated[int, Meta(ge=1, le=256)]
    overlap: Annotated[int, Meta(ge=0, le=4096)]
    """Pixels that two neighbours share, after resizing for the network."""
    chunk: Annotated[int, Meta(ge=1, le=65536)]
    """Number of tiles that the network processes at once."""
    left_out: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Number of tiles without a pixel that counts. The graph does not judge them. Only the card of a file states it."""


class SceneCheck(Struct, frozen=True, kw_only=True):
    """A check in the graph that a frame as a whole is not like a known kind of wrong frame, such as a dark or covered one.

    The graph computes `scene_features`. For each kind of wrong frame it compares a weighted distance between them and the
    centre of good parts with a limit. A frame beyond a limit is INVALID (`Reason.OTHER_SCENE`). Centre, scale and limits are
    initialisers that calibration rewrites (`model_file.format.SCENE_TENSORS`).
    """

    features: Annotated[int, Meta(ge=1, le=65536)]
    """Length of `andon.scene_center` and `andon.scene_scale`: one block of the frame's features per limit."""
    limits: Annotated[int, Meta(ge=1, le=16)]
    """Length of `andon.scene_limit`: one limit per kind of wrong frame."""
    cells: tuple[Annotated[int, Meta(ge=1, le=256)], Annotated[int, Meta(ge=1, le=256)]] | None = None
    """Number of vertical and horizontal cosines that describe the coarse grey picture."""
    quantile: Fraction
    """Share of good parts that are expected to pass all limits: n / (n + 1)."""
    n: Count
    """Number of good parts that centre and limits were fitted to. They do not set the threshold."""
    active: bool = True
    """False if no kind is recognised, or there were too few parts to fit. The limits are then larger than every value."""
    kinds: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    """Names of the kinds of wrong frames, in the order of the limits."""
    recognised: Annotated[tuple[ShortText, ...], Meta(max_length=16)] = ()
    """The kinds that differ enough from the good parts. The other kinds have no effective limit."""


class FrameSpec(Struct, frozen=True, tag="frame", tag_field="kind", kw_only=True):
    """Requirements for a frame, and its preparation in the graph.

    The graph crops the frame, resizes it to `size` and computes ``(grey level - mean) / scale``. The levels of uint16 frames
    become grey levels by `black` and `white` first.
    """

    channels: Literal[1, 3]
    """3 for RGB, 1 for grey."""
    size: tuple[Annotated[int, Meta(ge=8)], Annotated[int, Meta(ge=8)]]
    """Height and width, in pixels, of the network's input."""
    crop: tuple[Fraction, Fraction, Fraction, Fraction] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right, bottom, as fractions of the frame."""
    resize: Literal["fast", "exact"] = "fast"
    mean: float = 0.0
    """Grey level that becomes 0, from 0 to 255."""
    scale: Positive = 255.0
    """Divisor, in grey levels."""
    min_contrast: Annotated[float, Meta(ge=0.0)] = 2.0
    """Smallest standard deviation of a prepared frame, in grey levels. Frames with less contrast are INVALID."""
    frame_size: tuple[int, int] | None = None
    """Height and width, in pixels, of the calibrated frames. None if they had several sizes."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """Type of the raw frame. Cameras with 10 to 16 bits give ``uint16``."""
    black: Annotated[float, Meta(ge=0.0, le=65535.0)] = 0.0
    """Raw level of uint16 frames that becomes grey level 0. Lower levels become 0, too."""
    white: Annotated[float, Meta(gt=0.0, le=65535.0)] = 255.0
    """Raw level of uint16 frames that becomes grey level 255. Higher levels become 255, too."""
    ignore: Mask | None = None
    """Pixels that do not count. They have no influence on score and verdict."""
    region: Mask | None = None
    """The only pixels that count."""
    tiles: Tiles | None = None
    """Tiles of large frames. None: the network sees the whole frame at once."""
    scene: SceneCheck | None = None
    """Check of the frame as a whole. None: no such check, so that a frame without a part can be OK."""


Detrend = Literal["none", "mean", "line"]


class Channel(Struct, frozen=True, kw_only=True):
    """One sensor channel. The graph computes ``clip((value - center) / scale, -clip, clip)`` with the spec's `clip`.

    The square of the excess beyond the clip is added to the score, so that a value far outside scores higher than one at
    the clip.
    """

    name: str
    unit: str = ""
    low: float | None = None
    """Lowest value in the training set, in `unit`."""
    high: float | None = None
    """Highest value in the training set, in `unit`."""
    center: float = 0.0
    """Value that becomes 0, in `unit`."""
    scale: Positive = 1.0
    """Divisor, in `unit`."""
    resample: Literal["mean", "linear", "hold"] = "linear"
    """Method that puts samples onto the grid of `WindowSpec.period_s`."""
    max_gap_s: Positive | None = None
    """Longest gap that resampling may bridge, in seconds. None means three periods."""
    max_hold_s: Positive | None = None
    """Largest age of a sample that ``hold`` may repeat, in seconds. None means three periods."""
    spread: Range | None = None
    """Standard deviation within a window of the training set, in `unit`: the lowest and the highest one."""
    rate: Range | None = None
    """Largest change from one step to the next within a window of the training set, in `unit`: the lowest and the highest."""


class OutsideCheck(Struct, frozen=True, kw_only=True):
    """A check in the graph that rejects windows far outside everything that the good windows showed.

    The limits are an initialiser that calibration rewrites (`model_file.format.OUTSIDE_TENSOR`). `andon.runtime.outside_training`
    computes them from the ranges of the training and calibration windows.
    """

    values: Positive = 1.0
    """Widths of the good range of values by which it is widened on each side."""
    spread: Positive = 3.0
    """Multiple of the largest good standard deviation within a window that is still within the limit."""
    rate: Positive = 3.0
    """Multiple of the largest good change from one step to the next that is still within the limit."""


class Context(Struct, frozen=True, kw_only=True):
    """A channel that selects how the graph standardises the others, such as a recipe number or a speed.

    The graph gives this channel the prepared value 0. A value that is not in the training set makes the window INVALID.
    """

    channel: ShortText
    """Name of one of the window's channels."""
    by: Literal["value", "range"]
    """Meaning of `bounds`: the known values (``value``), or the ascending limits between the states (``range``)."""
    bounds: Annotated[tuple[float, ...], Meta(min_length=1, max_length=256)]
    center: tuple[tuple[float, ...], ...] = ()
    """``[states][C]``: `Channel.center` in each state. Empty: that of the channels."""
    scale: tuple[tuple[Positive, ...], ...] = ()
    """``[states][C]``: `Channel.scale` in each state."""

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.bounds) + (self.by == "range")


class WindowSpec(Struct, frozen=True, tag="window", tag_field="kind", kw_only=True):
    """Requirements for a window: `steps` rows, one every `period_s`, and one column per channel, in raw sensor units."""

    steps: Annotated[int, Meta(ge=1)]
    """Rows of a window."""
    hop: Annotated[int, Meta(ge=1)]
    """Rows between the starts of two windows."""
    period_s: Positive
    """Time between two rows, in seconds."""
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)]
    """Channels in the order of the columns."""
    clip: Positive = 10.0
    """Largest absolute standardised value. See `Channel`."""
    detrend: Detrend = "none"
    """Trend that the graph subtracts from each channel of a window: nothing, its mean, or a straight line."""
    context: Context | None = None
    """Channel that selects the standardisation. None: all rows are standardised in the same way."""
    outside: OutsideCheck | None = None
    """Check that the window is not far outside the good windows. None: no such check, so that only the score decides."""


InputSpec = FrameSpec | WindowSpec


class ScoreRule(Struct, frozen=True, kw_only=True):
    """The rule that turns a detector's evidence into the deciding score.

    Either `map` or `score` is set. A map is smoothed by a Gaussian if `smooth` is above 0, and then pooled.
    """

    map: str | None = None
    """Name of the map to pool."""
    score: str | None = None
    """Name of the score to use as it is."""
    pool: Literal["mean", "max", "top"] = "mean"
    """``top`` is the mean of the highest values."""
    share: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.01
    """Share of the values that count as the highest where `pool` is ``top``."""
    smooth: Annotated[float, Meta(ge=0.0)] = 0.0
    """Standard deviation of the Gaussian, in cells of the map. For frames only."""


class Weights(Struct, frozen=True, kw_only=True):
    """Origin of pretrained weights in the file."""

    name: str
    licence: str
    sha256: str
    source: str = ""


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The metadata of a model file: what it judges, how its input is prepared, and what it promises."""

    schema: tuple[int, int] = SCHEMA
    """Version of the file format, major and minor."""
    name: str
    """Name of the model."""
    detector: str
    """Name of the detector, for example ``patchcore``."""
    detector_version: int = 1
    settings: dict[str, Any] = {}
    """Settings of the detector. The runtime does not use them."""
    checkpoint_epoch: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """Epoch of the weights. None means the final weights of the training."""
    notes: Annotated[tuple[ShortText, ...], Meta(max_length=20)] = ()
    """Readable remarks of the detector about its settings."""
    input: InputSpec
    """Requirements for an item: a `FrameSpec` or a `WindowSpec`."""
    reading: ScoreRule
    """Rule that turns evidence into the score."""
    outputs: tuple[str, ...] = ()
    """Names of the evidence outputs, which follow the five outputs of every file."""
    calibration: Calibration | None = None
    """Promise and calibration parts. None in a blank file, which no loader accepts."""
    data_fingerprint: str = ""
    """Digest of the keys and contents of the good parts that were trained on."""
    weights: tuple[Weights, ...] = ()
    """Origin of pretrained weights in the file."""
    versions: dict[str, str] = {}
    """Versions of the packages that made the file."""
    precision: Precision = "float32"
    """Precision of the graph."""
    provider: Provider = "cpu"
    """Device type that the threshold was calibrated on."""
    tolerance: Annotated[float, Meta(gt=0.0, le=0.1)] = TOLERANCE
    """Largest difference of a score between machines, relative to ``max(|score|, median |score| of good parts)``."""
    memory_mb: Positive | None = None
    """Peak memory, in MB, of a process that judges one frame at a time, measured at the export. None: not measured.

    Files with tiles have it. A reader compares it with the memory of the machine.
    """


def canonical_json(value: object) -> bytes:
    """Encode as JSON with sorted keys, ASCII only and without spaces.

    Raises:
        ValueError: the value contains NaN or an infinity, which JSON does not have.
    """
    import json

    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def json_number(value: float) -> float | None:
    """Return the number, or None for NaN and infinities, which JSON does not have."""
    return float(value) if math.isfinite(value) else None
