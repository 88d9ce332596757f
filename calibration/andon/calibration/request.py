"""The user's request for a calibration: the promise, the date for the log, and whether files were grouped into parts."""

from msgspec import Struct


class ShiftRequest(Struct, frozen=True, kw_only=True):
    """A promise about a shift that the user asks for."""

    parts: int
    """Good parts of a shift."""
    rejects: int
    """Number of them that may be rejected."""
    share: float | None = None
    """Share of all shifts that keep this. None: the next shift only."""


class PromiseRequest(Struct, frozen=True, kw_only=True):
    """The promise that the user asks for."""

    false_reject: float | None = None
    """Largest share of good parts that may be rejected. None: the strictest step of the ladder that the parts support."""
    confidence: float = 0.95
    no_promise: bool = False
    """Write an estimate if the parts support no promise. The model file then marks it as an estimate."""
    shift: ShiftRequest | None = None
    """A promise about the good parts of a shift, in addition to the one about the rate."""
    review: float | None = None
    """Largest share of good parts that may need a review or be rejected. None: good parts set no review band."""


class CalibrationRequest(Struct, frozen=True, kw_only=True):
    """Everything about a calibration except the scores."""

    promise: PromiseRequest = PromiseRequest()
    date: str
    """ISO date for the log in the file. The calibration does not read the clock."""
    drift: bool = False
    """Store limits of drift charts in the file. Their simulation takes about half a second."""
    grouped: bool = False
    """True if the user grouped the files into parts or lots."""
    reason: str = ""
    """Reason for calibrating a file again. The log keeps it."""
    forced: bool = False
    """Accept a move of the threshold that is implausible without a change of the line."""
