"""Run a whole configuration: lines, event store, evidence, outputs, controllers, web server, and messages to systemd.

This is what `andon monitor` and `Monitor` have in common. Order of the start: the store opens, lines open (models are loaded and
checked), outputs and controllers connect, the web server listens, and judging begins. The end is in the reverse order, so that
the last events are stored.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from andon.monitor.config import Configuration, Line
from andon.monitor.controller_writer import ControllerWriter
from andon.monitor.controller_writer import close_all as close_controllers
from andon.monitor.event import Body, Event, EventsLost, Sampled
from andon.monitor.evidence import EvidenceWriter
from andon.monitor.journal import Journal, JournalIntents, JournalSink, boot_id
from andon.monitor.judging import Outcome
from andon.monitor.line_view import LineView, ShiftState
from andon.monitor.operator_actions import OperatorActions, with_shelves
from andon.monitor.process_image import LineResult
from andon.monitor.random_sample import SampleSink
from andon.monitor.recalibration import Recalibration
from andon.monitor.sample_questions import Questions
from andon.monitor.sender import Sender, close_all
from andon.monitor.service_notify import ServiceNotifier
from andon.monitor.shelving import resumed
from andon.monitor.sink import Sink
from andon.monitor.status import ProcessStatus
from andon.monitor.store import StoreReader
from andon.monitor.store_writer import StoreWriter
from andon.monitor.supervisor import Origin, RunEnd, Supervisor
from andon.monitor.web.live import Live
from andon.monitor.web.page_monitor import Exceeds
from andon.monitor.web.pages import page_routes
from andon.monitor.web.server import WebServer
from andon.runtime.schema import Card, FrameSpec
from andon.sources.clock import Clock
from andon.sources.source import Skip

logger = logging.getLogger(__name__)

_FLUSH_S = 2.0
"""Longest wait at the end until the last events are durable."""
_COUNTS = "shift:"
"""Beginning of the names of the counts in the store."""
KEEP_COUNTS_S = 10.0
"""Time between two times at which the counts of the shift are stored. After a power failure the items since then are missing."""


class Service:
    """See the module.

    Args:
        configuration: lines, store, outputs, controllers and web server.
        clock: for everything.
        stop: ends the run.
        notifier: sends messages to the service manager.
        on_status: called four times a second with the state of everything.
        on_event: gets each event. See `Journal`.
        extra_sinks: returns further sinks of a line, for callbacks.
        exceeds: compares rejects with the promise, for the page. See `Exceeds`.
    """

    def __init__(
        self,
        configuration: Configuration,
        clock: Clock,
        stop: threading.Event,
        *,
        notifier: ServiceNotifier | None = None,
        on_status: Callable[[ProcessStatus], None] = lambda _status: None,
        on_event: Callable[[Event], None] | None = None,
        extra_sinks: Callable[[Line], Sequence[Sink]] = lambda _line: (),
        exceeds: Exceeds | None = None,
    ) -> None:
        self._configuration = configuration
        self._clock = clock
        self._stop = stop
        self._notifier = notifier
        self._on_status = on_status
        self._on_event = on_event
        self._extra_sinks = extra_sinks
        self._exceeds = exceeds
        self._store: StoreWriter | None = None
        self._senders: list[Sender] = []
        self._controllers: list[ControllerWriter] = []
        self._open_judged = ExitStack()
        self._stored = 0
        self._next_keep_s = clock.mono_s() + KEEP_COUNTS_S
        self._kept_counts: dict[str, ShiftState] = {}
        web = configuration.web
        began = web.shift_began if web is not None else lambda wall_s: wall_s
        self.views = {line.name: LineView(clock, began) for line in configuration.lines} if web is not None else {}
        """Content of the page, by line. Empty without a web server."""
        self.actions = OperatorActions(
            clock,
            record=lambda line, body: self._record(Origin(line=line), body, None),
            status=self.status_of_lines,
            acknowledge=lambda line, alarm, number, by: self.acknowledge(line, alarm, number, by=by),
            views=self.views,
            reader=self.reader,
        )
        """The actions of people on the page."""
        store = configuration.store
        self.recalibration = Recalibration(
            clock,
            models={line.name: Path(line.model) for line in configuration.lines},
            folder=Path(store.path) if store is not None else None,
            one_in=web.confirm_one_in if web is not None else None,
            questions=Questions(self.reader),
            running=self._running_model,
            record=lambda line, body: self._record(Origin(line=line), body, None),
            loaded=self._load_swapped,
        )
        """Proposals of new thresholds from confirmed parts."""
        self.web: WebServer | None = None
        """The running web server, if the configuration has one."""
        self.supervisor = Supervisor(
            configuration,
            clock,
            stop,
            record=self._record,
            on_status=self._look,
            on_reload=self._reloading,
            extra_sinks=self._sinks,
            judged=self._judged,
            intents=self._intents,
            on_result=self._result,
        )
        self._journal = Journal(self.supervisor.run_id, clock)

    def run(self, opened: Callable[[], None] = lambda: None) -> RunEnd:
        """Run until all lines end or the stop event is set.

        Args:
            opened: called when everything is open and judging begins.

        Raises:
            AndonError: something cannot be opened. Then nothing stays open.
        """
        configuration = self._configuration
        with ExitStack() as open_parts:
            if self._notifier is not None:
                open_parts.callback(self._notifier.close)
            if configuration.store is not None:
                self._store = StoreWriter(
                    configuration.store,
                    self._clock,
                    outputs=[output.name for output in configuration.outputs],
                    run=self.supervisor.run_id,
                    boot=boot_id(),
                )
                open_parts.callback(self._store.close)
                open_parts.callback(self._open_judged.close)
                self._resume_page(self._store.reader())
            self._journal = Journal(
                self.supervisor.run_id,
                self._clock,
                store=self._store,
                outputs=configuration.outputs,
                on_event=self._on_event,
                clock_epoch=lambda: self.supervisor.clock_epoch,
            )
            outputs = [(output, output.open(self._clock)) for output in configuration.outputs]
            open_parts.callback(close_controllers, self._controllers, clock=self._clock)
            self._open_controllers()
            self.supervisor.open()
            open_parts.callback(self.supervisor.close)
            if self._store is not None:
                self._journal.evidence = self._evidence(self._store)
                open_parts.callback(self._journal.evidence.close)
                for chosen, output in outputs:
                    sender = Sender(
                        chosen.name,
                        chosen.kind.name,
                        output,
                        self._store.outbox(chosen.name),
                        clock=self._clock,
                        lost=self._lost,
                    )
                    self._senders.append(sender)
                open_parts.callback(close_all, self._senders, clock=self._clock)
                for sender in self._senders:
                    sender.start()
            for controller in self._controllers:
                controller.start()
            open_parts.callback(self.recalibration.close)
            if configuration.web is not None:
                live = Live(self.status, self, self._clock, exceeds=self._exceeds)
                self.web = WebServer(
                    self.status,
                    configuration.web,
                    clock=self._clock,
                    routes=page_routes(self, live),
                    before_close=live.close,
                )
                open_parts.callback(self.web.close)
                logger.info("page, status and metrics at %s", self.web.url)
            opened()
            try:
                end = self.supervisor.run()
            finally:
                for controller in self._controllers:  # first: no line is ready any more
                    controller.stop()
                if self._notifier is not None:
                    self._notifier.stopping()
                self._keep_counts()
                if self._store is not None:
                    self._store.flush(_FLUSH_S)
                for sender in self._senders:
                    sender.wake()
            close_controllers(self._controllers, clock=self._clock)
            stuck = end.stuck or any(controller.hung for controller in self._controllers)
            return msgspec.structs.replace(end, stuck=stuck)

    def acknowledge(self, line: str, alarm: str, number: int, *, by: str) -> bool:
        """Acknowledge an alarm of a line before its next item. Return False if there is no such line."""
        for controller in self._controllers:
            if line in controller.lines and alarm in controller.alarms:
                controller.acknowledge(alarm, number, by)
                return True
        return self.supervisor.acknowledge(line, alarm, number, by=by)

    def status(self) -> ProcessStatus:
        """Return the state of everything. It may be called from any thread."""
        return self._with_parts(self.status_of_lines())

    def status_of_lines(self) -> ProcessStatus:
        """Return the state without store, outputs and shelves."""
        return self._with_controllers(self.supervisor.status())

    def reader(self) -> StoreReader | None:
        """Return a reader of the event store. None if events are not kept."""
        return self._store.reader() if self._store is not None else None

    def card(self, line: str) -> Card | None:
        """Return the card of the model file of a line. None if there is no such line."""
        return self.supervisor.card(line)

    def _running_model(self, line: str) -> str:
        return next((one.model for one in self.status_of_lines().lines if one.name == line), "")

    def _load_swapped(self, lines: Sequence[str]) -> None:
        """Load a model file that a person has put in place, also where the file is not watched."""
        unwatched = [one.name for one in self._configuration.lines if one.name in lines and not one.policy.reload]
        if unwatched:
            self.supervisor.reload(unwatched)

    def _record(self, origin: Origin, body: Body, outcome: Outcome | None) -> None:
        self._journal.record(origin, body, outcome)

    def _lost(self, body: EventsLost) -> None:
        self._journal.record(Origin(), body, None)

    def _sinks(self, line: Line) -> Sequence[Sink]:
        sinks: list[Sink] = [self.views[line.name]] if line.name in self.views else []
        web = self._configuration.web
        if self._store is not None and web is not None and web.confirm_one_in is not None:
            origin = Origin(line=line.name, source=line.source.title)

            def ask(body: Sampled, outcome: Outcome) -> None:
                self._record(msgspec.structs.replace(origin, model=outcome.verdict.model), body, outcome)

            sinks.append(SampleSink(self.supervisor.run_id, line.name, web.confirm_one_in, ask))
        if self._store is not None:
            resumes = line.source.kind.resumes
            sinks.append(JournalSink(self._journal, self._store if resumes else None, self._clock))
        return [*sinks, *self._extra_sinks(line)]

    def _judged(self, line: Line) -> Skip | None:
        """Return a function that tests whether an earlier start has judged an item of a line. None if it has judged none."""
        if self._store is None or not line.source.kind.resumes:
            return None
        judged = self._store.reader().judged(line.name)
        self._open_judged.callback(judged.close)
        if not len(judged):
            return None
        logger.warning(
            "%s: up to %d items of %s that an earlier run has judged are skipped. To judge them again, use another folder in "
            "[store]",
            line.name,
            len(judged),
            line.source.shown,
        )
        return lambda ref: judged.has(ref.key, ref.time_s)

    def _intents(self, line: Line) -> JournalIntents | None:
        if self._store is None or line.reject is None or line.reject.rule.intent == "memory":
            return None
        return JournalIntents(self._journal, self._store, Origin(line=line.name, source=line.source.title))

    def _open_controllers(self) -> None:
        """Open the controllers, which connects none of them.

        Raises:
            AndonError: see `ChosenController.open`.
        """
        names = [line.name for line in self._configuration.lines]
        for chosen in self._configuration.controllers:
            self._controllers.append(
                ControllerWriter(
                    chosen.name,
                    chosen.kind.name,
                    chosen.open(self._clock, names),
                    lines=chosen.shown(names),
                    timing=chosen.timing,
                    clock=self._clock,
                    status=self.status_of_lines,
                    record=lambda line, body: self._record(Origin(line=line), body, None),
                )
            )

    def _result(self, line: str, result: LineResult) -> None:
        for controller in self._controllers:
            controller.put(line, result)

    def _evidence(self, store: StoreWriter) -> EvidenceWriter:
        return EvidenceWriter(
            store.evidence_folder,
            store,
            self._configuration.evidence,
            self._clock,
            known=store.reader().known,
            pictures=any(isinstance(card.input, FrameSpec) for card in self.supervisor.cards()),
        )

    def _resume_page(self, reader: StoreReader) -> None:
        """Go on with the shelves and the counts of the shift that an earlier start has left."""
        if self._configuration.web is None:
            return
        try:
            shelvings = reversed(reader.recent(kind="shelve", limit=1000))
            shelves = resumed(shelvings, boot=boot_id(), now_s=self._clock.mono_s(), wall_s=self._clock.wall_s())
            counts = {name: reader.kept(_COUNTS + name) for name in self.views}
        except (sqlite3.Error, ValueError) as error:  # judging does not need them
            logger.warning(
                "shelves and counts of the last start cannot be read: %s. The page starts without them.", error
            )
            return
        self.actions.resume_shelves(shelves)
        for name, kept in counts.items():
            if kept is not None:
                with contextlib.suppress(msgspec.MsgspecError):  # counts of another version are not needed
                    self.views[name].resume(msgspec.json.decode(kept, type=ShiftState))

    def _keep_counts(self) -> None:
        """Store the counts of the shift if they have changed."""
        if self._store is None:
            return
        for name, view in self.views.items():
            state = view.shift_state(self._clock.wall_s())
            if state != self._kept_counts.get(name):
                self._kept_counts[name] = state
                self._store.keep(_COUNTS + name, msgspec.json.encode(state).decode())

    def _reloading(self) -> None:
        if self._notifier is not None:
            self._notifier.reloading(self._clock.mono_s())

    def _look(self, status: ProcessStatus) -> None:
        for controller in self._controllers:
            controller.look()
        status = self._with_parts(self._with_controllers(status))
        self.actions.end_shelves()
        if status.now_s >= self._next_keep_s:
            self._next_keep_s = status.now_s + KEEP_COUNTS_S
            self._keep_counts()
        if self._store is not None and status.store is not None:
            if status.store.stored != self._stored:
                self._stored = status.store.stored
                for sender in self._senders:
                    sender.wake()
            self._store.ping()
        if self._notifier is not None:
            self._notifier.beat(status)
        self._on_status(status)

    def _with_controllers(self, status: ProcessStatus) -> ProcessStatus:
        """Return the status with the controllers, and with their alarms on the lines that they show."""
        if not self._controllers:
            return status
        lines = status.lines
        for controller in self._controllers:
            lines = tuple(
                msgspec.structs.replace(line, alarms=line.alarms | controller.alarms)
                if line.name in controller.lines
                else line
                for line in lines
            )
        controllers = tuple(controller.status() for controller in self._controllers)
        return msgspec.structs.replace(status, lines=lines, controllers=controllers)

    def _with_parts(self, status: ProcessStatus) -> ProcessStatus:
        status = with_shelves(status, self.actions.shelves)
        if self._store is None:
            return status
        return msgspec.structs.replace(
            status,
            store=self._store.status(),
            outputs=tuple(sender.status() for sender in self._senders),
        )
