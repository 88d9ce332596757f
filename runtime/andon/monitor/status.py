"""The state of a running monitor as plain data, for metrics, health checks, pages and `andon check`.

The hot path writes no metrics. Everything that is exported is read from these structs when someone asks.
"""

from typing import Literal

from msgspec import Struct

from andon.monitor.alarms import AlarmState
from andon.monitor.counters import Counters
from andon.monitor.shelving import Shelf

LineState = Literal["starting", "running", "retrying", "ended", "failed"]
"""``retrying``: the source is known to be away and is opened again. ``failed``: the line has ended with an error."""

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper limits of the latency histogram, in seconds. The last bucket is open."""


class Latency(Struct, frozen=True, kw_only=True):
    """A histogram of the time from the arrival of an item to its verdict."""

    counts: tuple[int, ...] = (0,) * (len(LATENCY_BUCKETS_S) + 1)
    """Number of items by bucket, not cumulative."""
    sum_s: float = 0.0


class ChartStatus(Struct, frozen=True, kw_only=True):
    """The state of one drift chart."""

    name: str
    value: float
    limit: float

    @property
    def crossed(self) -> bool:
        """True if the value is above the limit."""
        return self.value > self.limit


class PartsStatus(Struct, frozen=True, kw_only=True):
    """The counters of the parts of a line, since the start."""

    open: int = 0
    """Number of parts without a decision now."""
    decided: int = 0
    by_status: dict[str, int] = {}
    """Decided parts by status (OK, REVIEW, INVALID, REJECT). The sum is `decided`."""
    late: int = 0
    """Number of frames that arrived, or were judged, after the decision about their part."""
    untriggered: int = 0
    """Number of frames without a trigger."""
    surplus: int = 0
    """Number of frames beyond those that a part should have."""
    repeated: int = 0
    """Number of triggers that arrived twice."""
    skipped: int = 0
    """Number of triggers that are missing in the numbers of the triggers."""


class RejectStatus(Struct, frozen=True, kw_only=True):
    """The counters of the reject signal of a line, since the start."""

    waiting: int = 0
    """Number of signals that are not due yet."""
    fired: int = 0
    missed: int = 0
    """Number of signals that could not be given in time. They were not given."""
    failed: int = 0
    """Number of signals that the device did not confirm."""
    unknown: int = 0
    """Number of signals whose result is not known. They are not given again."""
    not_durable: int = 0
    """Number of signals that were given before their intent was stored."""
    latest_s: float = 0.0
    """Largest delay of a given signal after the moment at which it was due."""


class TriggerStatus(Struct, frozen=True, kw_only=True):
    """The state of the triggers of a line."""

    given: int = 0
    """Number of triggers since the start."""
    refused: int = 0
    """Number of messages that were not triggers, since the start."""
    failing: str = ""
    """Reason why triggers cannot arrive, without secrets. Empty if they can."""


class LineStatus(Struct, frozen=True, kw_only=True):
    """The state of one line."""

    name: str
    state: LineState
    since_s: float | None = None
    """Monotonic time at which the line reached this state. None if it is not known."""
    source: str
    """Kind and address of the source, without secrets."""
    model: str
    """Short digest of the model file. Empty before one is loaded."""
    model_name: str = ""
    golden: bool = False
    """True if the golden sample of the model file was reproduced on this machine, with this provider."""
    counters: Counters = Counters()
    latency: Latency = Latency()
    alarms: dict[str, AlarmState] = {}
    """States of the alarms by name."""
    shelved: dict[str, Shelf] = {}
    """Shelved alarms by name."""
    charts: tuple[ChartStatus, ...] = ()
    last_outcome_s: float | None = None
    """Monotonic time of the last outcome with a judged item."""
    judging_since_s: float | None = None
    """Monotonic time at which the current call of the judge began. None if it is idle."""
    quiet_ok: bool = False
    """True if the source is known to be quiet or away, and no outcome is expected now."""
    source_report: str = ""
    """Code of the reason of the last outcome, if it was a report that the source gives no usable items, for example ``stale``."""
    stale_after_s: float = float("inf")
    """Longest normal time without an outcome."""
    restarts: int = 0
    """Number of times that the source was opened again."""
    reloads: int = 0
    reload_error: str = ""
    """Reason why the last new model file was refused."""
    failure: str = ""
    """Error of the line. Empty without an error."""
    lost: int = 0
    """Number of outcomes that the sinks of the line could not keep."""
    parts: PartsStatus | None = None
    """None if the line does not decide about parts."""
    reject: RejectStatus | None = None
    """None if the line has no reject signal."""
    trigger: TriggerStatus | None = None
    """None if the line has no triggers of a controller."""


class StoreStatus(Struct, frozen=True, kw_only=True):
    """The state of the event store."""

    stored: int = 0
    """Number of events committed since the start."""
    waiting: int = 0
    """Number of events in memory that are not committed yet."""
    lost: int = 0
    """Number of events lost since the start."""
    failing: str = ""
    """Error of the last commit. Empty if it succeeded."""
    evidence_dropped: int = 0
    moved: str = ""
    """Name of the damaged store that was moved aside at this start. Empty if it was whole."""
    ping_s: float | None = None
    """Monotonic time at which the writer last answered."""


class OutputStatus(Struct, frozen=True, kw_only=True):
    """The state of one output."""

    name: str
    kind: str
    backlog: int
    """Number of events that are not delivered yet."""
    delivered: int = 0
    """Number of events delivered since the start."""
    dead: int = 0
    """Number of events that the receiver refused because of their content, since the start."""
    failing: str = ""
    """Error of the last try, without secrets. Empty if it succeeded."""


class ControllerStatus(Struct, frozen=True, kw_only=True):
    """The state of one controller."""

    name: str
    kind: str
    lines: tuple[str, ...] = ()
    """Names of the lines that it shows."""
    connected: bool = False
    """True if the last call succeeded."""
    written: int = 0
    """Number of results that the controller has confirmed, since the start."""
    late: int = 0
    """Number of results that were too old to be written, since the start."""
    longest_s: float = 0.0
    """Longest time from a decision to the confirmation of its result."""
    confirmed_s: float | None = None
    """Monotonic time of the last confirmed write. None before the first one."""
    failing: str = ""
    """Error of the last try, without secrets. Empty if it succeeded."""


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """The state of the whole monitor."""

    version: str
    run: str
    """Random name of this start of the process."""
    started_wall_s: float
    now_s: float
    """Monotonic time of this status."""
    now_wall_s: float
    lines: tuple[LineStatus, ...] = ()
    store: StoreStatus | None = None
    outputs: tuple[OutputStatus, ...] = ()
    controllers: tuple[ControllerStatus, ...] = ()
    clock_epoch: int = 0
    """Number of clock steps since the start."""
    stopping: bool = False
    reloading: bool = False
    """True while model files are loaded again."""
