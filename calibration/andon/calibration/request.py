"""What the user asks of a calibration: the promise, the date in the log, and whether files were grouped into parts."""

from msgspec import Struct


class PromiseRequest(Struct, frozen=True, kw_only=True):
    """The promise that the user asks for."""

    false_reject: float | None = None
    """Largest share of good parts that may be rejected; None: the strictest step of the ladder that the parts support."""
    confidence: float = 0.95
    no_promise: bool = False
    """Write an estimate where the parts support no promise. The file then says so."""


class CalibrationRequest(Struct, frozen=True, kw_only=True):
    """Everything about a calibration except the scores."""

    promise: PromiseRequest = PromiseRequest()
    date: str
    """ISO date for the file's log. Code does not read the clock."""
    grouped: bool = False
    """Whether the user said which files belong to one part or lot."""
