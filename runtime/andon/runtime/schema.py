"""What a model file says of itself: typed structs for the metadata key ``andon``.

The JSON is canonical (sorted keys, ASCII, no NaN). `SCHEMA` is ``[major, minor]``: a reader refuses another major and
ignores unknown fields of a higher minor; a field once published never changes its meaning. The threshold and the tail
of scores are not here: they stand in the graph, and only there (`docs/model-file.md`).
"""

import math
from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

SCHEMA = (1, 0)
TAIL_KNOTS = 256
"""Length of `andon.tail_x`; `andon.tail_p` is one longer."""

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]


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
    """Why a verdict is INVALID. Codes below 64 come from the graph, those from 64 on from what feeds it."""

    NONE = 0
    NOT_FINITE = 1
    NO_CONTRAST = 2
    UNREADABLE = 64
    GAP = 65
    STALE = 66
    WARMING = 67
    WRONG_INPUT = 68
    LOST = 69
    FAILED = 70
    OTHER = 255
    """A reason that this andon does not know: a file of a newer one gives it."""

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        """A newer file's reason must not end the judging: its status is INVALID in any case."""
        return cls.OTHER if isinstance(value, int) and 0 < value < 256 else None

    def __str__(self) -> str:
        """Return the name; numeric formats and JSON keep the number."""
        return self.name

    @property
    def text(self) -> str:
        """The reason in words, for people."""
        return _REASON_TEXTS[self]

    @property
    def code(self) -> str:
        """A stable name for machines: ``no_contrast``; empty for `NONE`."""
        return self.name.lower() if self else ""


_REASON_TEXTS = {
    Reason.NONE: "",
    Reason.NOT_FINITE: "values that are not finite numbers",
    Reason.NO_CONTRAST: "no contrast: a covered lens, a lamp off, or an empty frame",
    Reason.UNREADABLE: "unreadable: damaged or not a picture",
    Reason.GAP: "samples missing within the window",
    Reason.STALE: "no fresh data from the source",
    Reason.WARMING: "not enough samples since the start or the last gap",
    Reason.WRONG_INPUT: "not what the model file was calibrated for: another size, type or channels",
    Reason.FAILED: "could not be judged: an error, which the log tells",
    Reason.LOST: "seen by the source but never read whole",
    Reason.OTHER: "a reason that this andon does not know: update andon",
}


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


class WindowSpec(Struct, frozen=True, tag="window", tag_field="kind", kw_only=True):
    """What a window must be: `steps` rows over a grid of `period_s`, one column a channel, raw sensor units."""

    steps: Annotated[int, Meta(ge=1)]
    hop: Annotated[int, Meta(ge=1)]
    period_s: Positive
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)]
    clip: Positive = 10.0


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


StatementKind = Literal["promise", "promise(n_eff)", "estimate", "manual"]


class Calibration(Struct, frozen=True, kw_only=True):
    """What the threshold was calibrated to, and on what."""

    kind: StatementKind
    alpha: Fraction
    """Promised share of good parts that are rejected, at most."""
    confidence: Fraction
    """Probability, over the draw of the calibration parts, that the promise holds."""
    n: int
    """Good parts (or windows) that the threshold was calibrated on. One that is INVALID by its content counts as rejected."""
    n_eff: float
    """Effective number after dependence; equal to `n` where the parts are independent."""
    above: int
    """How many of the n lie above the order statistic that became the threshold."""
    unit: Literal["part", "window"] = "part"
    dependence: str = ""
    """How far the parts are independent, in words."""
    tau: float = 1.0
    """Integrated autocorrelation time, in units."""
    invalid: int = 0
    """Calibration parts that were lost to their input (unreadable, a gap, another kind): left out."""
    part_keys_sha256: str = ""
    """Digest over the sorted keys of the calibration parts, one a line."""
    good_median: float = 0.0
    good_scale: float = 1.0
    """Median |score| of the good parts: the unit of the parity tolerance."""
    map_scale: float | None = None
    """99.9 % quantile of the deciding maps of good parts: heat maps run from 0 to 1.5 times this."""
    date: str = ""
    """ISO date, as given by whoever calibrated."""

    @property
    def sentence(self) -> str:
        """The statement as people read it."""
        units = self.unit + "s"
        parts = f"{self.n} {units}"
        if self.kind == "manual":
            return f"no promise: a person chose the threshold; {parts} of good stock were scored"
        if self.kind == "estimate":
            return (
                f"no promise, an estimate: about {100 * self.alpha:.2g} % of good {units} may be rejected, or more; "
                f"from {parts}, too few for a promise"
            )
        approximate = f" (worth {self.n_eff:.0f} independent ones)" if self.kind == "promise(n_eff)" else ""
        return (
            f"with {percent(self.confidence)} confidence at most {percent(self.alpha)} of good {units} are rejected; "
            f"from {parts}{approximate}"
        )


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The metadata key ``andon``: what the file is, how its input is prepared, what it promises."""

    schema: tuple[int, int] = SCHEMA
    name: str
    detector: str
    detector_version: int = 1
    settings: dict[str, Any] = {}
    """The detector's settings: opaque to the runtime."""
    input: InputSpec
    reading: ScoreRule
    outputs: tuple[str, ...] = ()
    """Evidence outputs, after the five that every file has."""
    calibration: Calibration | None = None
    data_fingerprint: str = ""
    """Digest over the keys and contents of the good parts that were trained on."""
    weights: tuple[Weights, ...] = ()
    versions: dict[str, str] = {}
    precision: Literal["float32", "float16", "int8"] = "float32"
    provider: Literal["cpu", "cuda"] = "cpu"
    """Provider class that the threshold was calibrated on."""


def percent(share: float) -> str:
    """A share as a percentage with as few digits as it needs, e.g. 0.001 as ``0.1 %``."""
    return f"{100 * share:.6g} %"


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, ASCII only and no spaces.

    Raises:
        ValueError: on NaN or an infinity, which JSON does not have.
    """
    import json

    plain = msgspec.to_builtins(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def json_number(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None
