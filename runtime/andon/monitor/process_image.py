"""The state and the last result of a line as a controller reads them (its process image), as plain data."""

from enum import IntEnum

from msgspec import Struct

from andon.monitor.status import LineState


class ResultCode(IntEnum):
    """The result of a part or item, as a number for controllers."""

    NONE = 0
    """Nothing was judged since the start."""
    OK = 1
    REVIEW = 2
    REJECT = 3
    INVALID = 4


class ProcessImage(Struct, frozen=True, kw_only=True):
    """The content that a controller reads about one line. Counters count since the start of the monitor and never go back."""

    line: str
    """Name of the line."""
    ready: bool = False
    """True if the line would judge a part that arrived now. It is False at the start, at the end, and in every failure."""
    state: LineState = "starting"
    heartbeat: int = 0
    """Number that grows with each write. A controller that sees the same number for 3 s must treat the line as not ready."""
    result: ResultCode = ResultCode.NONE
    number: int = 0
    """Number of the result: 1 for the first one. A controller that sees a number skipped has missed a result."""
    part: str = ""
    """Name of the part, or of the item on a line without parts."""
    score: float | None = None
    """None if the part was not judged."""
    threshold: float | None = None
    reason: str = ""
    """Code of the reason of an INVALID result."""
    judged_wall_s: float | None = None
    """Wall time of the decision, in seconds since 1970."""
    model: str = ""
    """Short digest of the model file."""
    ok: int = 0
    review: int = 0
    reject: int = 0
    invalid: int = 0
    alarms: int = 0
    """Number of active alarms of the line."""

    @property
    def total(self) -> int:
        """Number of results."""
        return self.ok + self.review + self.reject + self.invalid
