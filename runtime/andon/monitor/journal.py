"""Turn what happens on the lines into events with an envelope, and pass them to the store, the evidence and callbacks."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from andon.monitor.event import (
    AlarmChanged,
    Body,
    Event,
    InvalidBegan,
    Rejected,
    RejectSignal,
    Sampled,
    ToReview,
    new_key,
)
from andon.monitor.evidence import EvidenceWriter
from andon.monitor.judging import Outcome
from andon.monitor.output import ChosenOutput
from andon.monitor.store_writer import StoreWriter
from andon.monitor.supervisor import Origin
from andon.runtime.schema import InputSpec, WindowSpec
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """The one place where events get their key, run and time. All methods may be called from any thread.

    Args:
        run: random name of this start of the process.
        clock: for the times of events.
        store: keeps the events. None: they go to `on_event` only.
        outputs: the outputs, each with its filter.
        on_event: gets each event, in the thread that caused it. An error in it is logged and has no other effect.
        clock_epoch: returns the number of clock steps so far.
    """

    def __init__(
        self,
        run: str,
        clock: Clock,
        *,
        store: StoreWriter | None = None,
        outputs: Sequence[ChosenOutput] = (),
        on_event: Callable[[Event], None] | None = None,
        clock_epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self._run = run
        self._boot = boot_id()
        self._clock = clock
        self._store = store
        self._outputs = outputs
        self._on_event = on_event
        self._clock_epoch = clock_epoch
        self._order = threading.Lock()
        self.evidence: EvidenceWriter | None = None
        """Writer of the evidence, once the kinds of models are known."""

    def record(self, origin: Origin, body: Body, outcome: Outcome | None) -> None:
        """Pass on one event. It never raises."""
        try:
            self._record(origin, body, outcome)
        except Exception:
            logger.exception("an event could not be recorded: %s. Report this as a bug.", type(body).__name__)

    def event(self, origin: Origin, body: Body, at_s: float) -> Event:
        """Return an event with a new key at a monotonic time. It is not recorded."""
        return Event(
            key=new_key(),
            run=self._run,
            boot=self._boot,
            line=origin.line,
            source=origin.source,
            model=origin.model,
            mono_ns=int(at_s * 1e9),
            wall_us=int(self._clock.wall_s() * 1e6),
            clock_epoch=self._clock_epoch(),
            body=body,
        )

    def wanted(self, event: Event) -> list[str]:
        """Return the names of the outputs that get an event."""
        return [output.name for output in self._outputs if output.wanted(event)]

    def passed_on(self, event: Event) -> None:
        """Give an event to the callback. It never raises."""
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("a callback for events failed")

    def _record(self, origin: Origin, body: Body, outcome: Outcome | None) -> None:
        with self._order:  # so that the order of the store is the order of the times
            now_s = self._clock.mono_s()
            event = self.event(origin, body, now_s)
            if self._store is not None:
                self._store.put(event, self.wanted(event))
        if self.evidence is not None and outcome is not None and _has_evidence(body):
            around = not isinstance(body, Sampled)  # a part that was chosen at random is shown alone
            self.evidence.event(
                event, outcome.data, now_s, channels=_channels(outcome), around=around, spec=_spec(outcome)
            )
        if self._on_event is not None:
            self._on_event(event)


class JournalIntents:
    """The durable intents of the reject signals of one line, see `andon.monitor.reject.Intents`."""

    def __init__(self, journal: Journal, store: StoreWriter, origin: Origin) -> None:
        self._journal = journal
        self._store = store
        self._origin = origin

    @property
    def unknown(self) -> tuple[str, ...]:
        """Parts of this line whose signal had no result when the process ended."""
        return tuple(
            event.body.part
            for event in self._store.unknown
            if event.line == self._origin.line and isinstance(event.body, RejectSignal)
        )

    def event(self, body: RejectSignal, at_s: float) -> Event:
        """Return an event of the line."""
        return self._journal.event(self._origin, body, at_s)

    def intent(self, event: Event, timeout_s: float) -> bool:
        """Store an intent, see `StoreWriter.intent`."""
        return self._store.intent(event, timeout_s)

    def result(self, intent: Event, event: Event) -> None:
        """Store a result for all outputs that want it, see `StoreWriter.result`."""
        event = replace(event, key=intent.key)
        self._store.result(intent, event, self._journal.wanted(event))
        self._journal.passed_on(event)


class JournalSink:
    """The sink of a line that feeds the ring of pictures, and marks each item as judged in the store."""

    lost = 0
    summary = ""

    def __init__(self, journal: Journal, store: StoreWriter | None, clock: Clock) -> None:
        self._journal = journal
        self._store = store  # None if the items of the source have no lasting names
        self._clock = clock

    def put(self, outcome: Outcome) -> None:
        """Offer the frame as evidence. The events of the outcome were put into the store before."""
        if self._journal.evidence is not None and outcome.data is not None:
            self._journal.evidence.offer(outcome.line, outcome.data, self._clock.mono_s(), spec=_spec(outcome))
        if self._store is not None:
            self._store.judged(outcome.line, outcome.ref.key, outcome.ref.time_s)

    def close(self) -> None:
        """Do nothing: the store is closed at the end of the process."""


def boot_id() -> str:
    """Return the random name of this start of the machine. Empty on systems that have none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _has_evidence(body: Body) -> bool:
    return isinstance(body, Rejected | ToReview | InvalidBegan | Sampled) or (
        isinstance(body, AlarmChanged) and body.change in ("raised", "repeated")
    )


def _spec(outcome: Outcome) -> InputSpec | None:
    return outcome.card.input if outcome.card is not None else None


def _channels(outcome: Outcome) -> tuple[str, ...]:
    spec = _spec(outcome)
    return tuple(channel.name for channel in spec.channels) if isinstance(spec, WindowSpec) else ()
