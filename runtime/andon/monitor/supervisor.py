"""Run all lines of a configuration in one process: their threads, their common sources, their end, and new model files.

Each line has a thread for judging and each source has a thread for reading. A line that fails ends alone; the other lines go on.
The supervisor thread looks at all of them four times per second.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from andon.foundation.errors import AndonError, ConfigError
from andon.monitor.config import Configuration, Line
from andon.monitor.event import Body, ClockStepped, ModelChanged, SourceChanged, Started, Stopped
from andon.monitor.feed import Feed, FeedState
from andon.monitor.judging import Outcome
from andon.monitor.line import LineEnd, RunningLine, same_items
from andon.monitor.loaded_models import LoadedModels
from andon.monitor.process_image import LineResult
from andon.monitor.reject import Intents
from andon.monitor.sink import Sink
from andon.monitor.status import ProcessStatus
from andon.monitor.turns import Turns, cores
from andon.monitor.wall_time import WallTime, look
from andon.runtime import __version__
from andon.runtime.schema import Card
from andon.sources.clock import Clock
from andon.sources.source import Skip

logger = logging.getLogger(__name__)

TICK_S = 0.25
"""Time between two looks at the lines."""
MODEL_LOOK_S = 1.0
"""Time between two looks at the model files."""
END_S = 5.0
"""Longest wait at the end for the threads of the lines. A judge, sink or callback that has not returned by then is abandoned."""

Recorder = Callable[["Origin", Body, Outcome | None], None]
"""A function that takes an event with its origin. It is fast, never raises, and may be called from any thread."""


class Origin(Struct, frozen=True, kw_only=True):
    """The origin of an event."""

    line: str = ""
    """Name of the line. Empty for the process."""
    source: str = ""
    """Address without secrets."""
    model: str = ""
    """Short digest of the model file."""


class RunEnd(Struct, frozen=True, kw_only=True):
    """The result of a run of all lines."""

    lines: tuple[LineEnd, ...]
    """The lines that ran to their end."""
    failures: dict[str, str] = {}
    """Lines that ended with an error before their end, with the error."""
    stuck: bool = False
    """True if a line or a reload did not end in time. Its thread still runs."""

    @property
    def complete(self) -> bool:
        """True if every line did all its work."""
        return not self.failures and all(end.complete for end in self.lines)

    @property
    def hung(self) -> bool:
        """True if some thread still runs."""
        return self.stuck or any(end.hung for end in self.lines)


class Supervisor:
    """See the module.

    Args:
        configuration: the lines.
        clock: see `monitor`.
        stop: ends all lines within two seconds, or within `END_S` if a judge or a sink does not return.
        record: takes the events of all lines and of the process.
        on_status: called at each look with the state of everything.
        on_reload: called before model files are loaded again because of a request.
        extra_sinks: returns further sinks of a line. They are closed with the line.
        judged: returns a function that tests whether an earlier run of a line has judged an item. The line then skips it.
        intents: returns the place of the intents of a line's reject signals. None: in memory.
        on_result: takes the name of a line and each of its results. See `RunningLine`.
    """

    def __init__(
        self,
        configuration: Configuration,
        clock: Clock,
        stop: threading.Event,
        *,
        record: Recorder = lambda _origin, _body, _outcome: None,
        on_status: Callable[[ProcessStatus], None] = lambda _status: None,
        on_reload: Callable[[], None] = lambda: None,
        extra_sinks: Callable[[Line], Sequence[Sink]] = lambda _line: (),
        judged: Callable[[Line], Skip | None] = lambda _line: None,
        intents: Callable[[Line], Intents | None] = lambda _line: None,
        on_result: Callable[[str, LineResult], None] = lambda _line, _result: None,
    ) -> None:
        self.run_id = secrets.token_hex(8)
        self._configuration = configuration
        self._clock = clock
        self._stop = stop
        self._record = record
        self._on_status = on_status
        self._on_reload = on_reload
        self._extra_sinks = extra_sinks
        self._judged = judged
        self._intents = intents
        self._on_result = on_result
        self._started_wall_s = clock.wall_s()
        self._time = WallTime(mono_s=clock.mono_s(), wall_s=self._started_wall_s)
        self._lines: list[RunningLine] = []
        self._feeds: list[Feed] = []
        self._threads: dict[threading.Thread, str] = {}
        """The threads of the lines, with the name of the line."""
        self._ends: dict[str, LineEnd] = {}
        self._errors: dict[str, BaseException] = {}
        self._stuck: set[str] = set()
        self._look_failed = False
        self._reload = threading.Event()
        self._reloading = threading.Lock()
        self._reloader: threading.Thread | None = None
        self._watch = ModelWatch()
        self._models = LoadedModels()
        self._looked_s = clock.mono_s()

    @property
    def clock_epoch(self) -> int:
        """Number of steps of the wall clock so far."""
        return self._time.epoch

    def cards(self) -> list[Card]:
        """Return the cards of the loaded model files."""
        return [line.detector.card for line in self._lines]

    def card(self, name: str) -> Card | None:
        """Return the card of the model file of a line. None if there is no such line."""
        return next((line.detector.card for line in self._lines if line.line.name == name), None)

    def close(self) -> None:
        """Close what `open` has opened and `run` has not closed yet."""
        for line in self._lines:
            if line.line.name not in self._stuck:  # its sinks are in use, and closing them could wait for ever
                line.close()

    def run(self) -> RunEnd:
        """Judge until all lines end or the stop event is set, and close them. Open them first, if `open` was not called.

        Raises:
            AndonError: a model, source or sink cannot be opened. No line runs then, and nothing stays open.
        """
        if not self._threads:
            self.open()
        feeds, threads = self._feeds, list(self._threads)
        self._record(Origin(), Started(version=__version__, lines=tuple(line.line.name for line in self._lines)), None)
        for feed in feeds:
            feed.start()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self._stop.is_set():
            self._look_safely(self._look)
            # a short run must not wait for the next look
            threads[0].join(TICK_S) if len(threads) == 1 else self._stop.wait(TICK_S)
        for line in self._lines:
            line.end()
        self._join()
        self._look_safely(lambda: self._on_status(self.status()))
        self._record(Origin(), Stopped(), None)
        refused = [error for error in self._errors.values() if isinstance(error, AndonError)]
        if refused and len(refused) == len(self._lines):
            raise refused[0]
        return RunEnd(
            lines=tuple(self._ends[line.line.name] for line in self._lines if line.line.name in self._ends),
            failures={name: f"{type(error).__name__}: {error}" for name, error in self._errors.items()}
            | dict.fromkeys(sorted(self._stuck), f"a judge, sink or callback did not return within {END_S:g} s"),
            stuck=bool(self._stuck) or (self._reloader is not None and self._reloader.is_alive()),
        )

    def _join(self) -> None:
        """Wait for the threads of the lines, and abandon those that do not end."""
        until_s = self._clock.mono_s() + END_S
        for thread, name in self._threads.items():
            thread.join(max(0.0, until_s - self._clock.mono_s()))
            if thread.is_alive():
                self._stuck.add(name)
                logger.error(
                    "%s: a judge, sink or callback did not return within %g s. The line is abandoned", name, END_S
                )

    def status(self) -> ProcessStatus:
        """Return the state of everything. It may be called from any thread."""
        return ProcessStatus(
            version=__version__,
            run=self.run_id,
            started_wall_s=self._started_wall_s,
            now_s=self._clock.mono_s(),
            now_wall_s=self._clock.wall_s(),
            lines=tuple(line.status() for line in self._lines),
            clock_epoch=self._time.epoch,
            stopping=self._stop.is_set(),
            reloading=self._reload.is_set() or (self._reloader is not None and self._reloader.is_alive()),
        )

    def request_reload(self) -> None:
        """Load all model files again at the next look. It may be called from a signal handler."""
        self._reload.set()

    def reload(self, names: Sequence[str] | None = None) -> dict[str, ModelChanged]:
        """Load the model files of some lines again, and return the result for each. All lines go on judging meanwhile.

        Args:
            names: names of lines. None means all.
        """
        with self._reloading:
            return {line.line.name: line.reload() for line in self._lines if names is None or line.line.name in names}

    def acknowledge(self, line: str, alarm: str, number: int, *, by: str) -> bool:
        """Acknowledge an alarm of a line before its next item. Return False if there is no such line."""
        for one in self._lines:
            if one.line.name == line:
                one.acknowledge(alarm, number, by)
                return True
        return False

    def trigger(self, line: str, *, part: str = "", number: int | None = None) -> bool:
        """Begin a part on a line with ``trigger = "external"``. Return False if there is no such line, or it has ended.

        Raises:
            ConfigError: see `RunningLine.trigger`.
        """
        return any(one.trigger(part=part, number=number) for one in self._lines if one.line.name == line)

    def open(self) -> None:
        """Open all lines: load and check their model files, and open their sinks.

        Raises:
            AndonError: a model or sink cannot be opened, or a source does not exist. Nothing stays open then.
        """
        turns = Turns(cores())
        try:
            for line in self._configuration.lines:
                # before it is loaded, so that a file that is replaced in the meantime counts as changed
                self._watch.remember(Path(line.model))
                self._lines.append(self._opened(line, turns))
            groups = _sharing(self._lines)
        except BaseException:
            for opened in self._lines:
                opened.close()
            self._lines.clear()
            raise
        for group in groups:
            feed = self._feed(group)
            self._feeds.append(feed)
            for running in group:
                # a daemon, because a judge or a sink may never return
                thread = threading.Thread(
                    target=self._follow, args=(running, feed), name=f"andon line {running.line.name}", daemon=True
                )
                self._threads[thread] = running.line.name

    def _opened(self, line: Line, turns: Turns) -> RunningLine:
        return RunningLine(
            line,
            self._clock,
            models=self._models,
            turns=turns,
            record=self._recorder(line),
            extra_sinks=self._extra_sinks(line),
            intents=self._intents(line),
            on_result=partial(self._on_result, line.name),
        )

    def _feed(self, lines: Sequence[RunningLine]) -> Feed:
        first = lines[0]
        source = first.line.source
        stop = first.stop if len(lines) == 1 else threading.Event()
        spec = first.detector.card.input

        skips = [self._judged(line.line) if source.kind.resumes else None for line in lines]
        known = [one for one in skips if one is not None]
        # what all lines have judged is not even read
        skip = (lambda ref: all(one(ref) for one in known)) if len(known) == len(lines) else None

        def state(state: FeedState, detail: str) -> None:
            if state == "opening":
                return
            for line in lines:
                self._recorder(line.line)(SourceChanged(state=state, detail=detail), None)

        return Feed(
            lambda: source.open(spec, self._clock, stop, skip=skip),
            [line.queue for line in lines],
            skips=skips if len(lines) > 1 else (),
            clock=self._clock,
            name=source.kind.name,
            limit=first.line.policy.limit,
            reopen=source.endless and first.line.policy.restart,
            stop=stop,
            on_state=state,
        )

    def _follow(self, line: RunningLine, feed: Feed) -> None:
        name = line.line.name
        try:
            self._ends[name] = line.follow(feed)
        except BaseException as error:  # also SystemExit in a callback, which would end the thread without a word
            self._errors[name] = error
            if not isinstance(error, AndonError):
                logger.exception("%s: the line failed. The other lines continue. Report this as a bug.", name)
            elif len(self._lines) > 1:
                logger.error("%s: the line ends: %s", name, error)  # noqa: TRY400 - a mistake of the user, not a bug
        finally:
            line.stop.set()
            line.queue.close()  # a line that failed early must not hold up the others of its source
            counters = line.status().counters
            self._recorder(line.line)(
                Stopped(
                    grabbed=counters.grabbed,
                    judged=counters.judged,
                    invalid=counters.invalid,
                    dropped=counters.dropped,
                ),
                None,
            )

    def _recorder(self, line: Line) -> Callable[[Body, Outcome | None], None]:
        source = line.source.title

        def record(body: Body, outcome: Outcome | None) -> None:
            model = outcome.verdict.model if outcome is not None else ""
            self._record(Origin(line=line.name, source=source, model=model), body, outcome)

        return record

    def _look(self) -> None:
        now_s = self._clock.mono_s()
        self._time, step_s = look(self._time, now_s, self._clock.wall_s())
        if step_s:
            logger.warning("the wall clock of the machine stepped by %.1f s", step_s)
            self._record(Origin(), ClockStepped(delta_s=step_s), None)
        if self._reloader is None or not self._reloader.is_alive():
            self._begin_reload(now_s)
        self._on_status(self.status())

    def _look_safely(self, look: Callable[[], None]) -> None:
        """Call a function that must not end the monitor: an error in the display or in a sink's counter is logged once."""
        try:
            look()
        except Exception:
            if not self._look_failed:
                logger.exception(
                    "the state of the monitor cannot be read or shown. Judging goes on. Report this as a bug."
                )
            self._look_failed = True

    def _begin_reload(self, now_s: float) -> None:
        """Load model files in a thread of its own, if it is time to. A slow disk then delays neither the end nor the status."""
        names = None
        if self._reload.is_set():
            self._reload.clear()
            for running in self._lines:
                self._watch.remember(Path(running.line.model))  # else the watch would load the same file once more
            self._on_reload()
        elif now_s - self._looked_s >= MODEL_LOOK_S:
            self._looked_s = now_s
            names = self._changed_lines()
            if not names:
                return
        else:
            return
        self._reloader = threading.Thread(target=self.reload, args=(names,), name="andon reload", daemon=True)
        self._reloader.start()

    def _changed_lines(self) -> list[str]:
        """Return the names of the lines whose model file was replaced. Several lines may use one file."""
        watched = [line.line for line in self._lines if line.line.policy.reload]
        changed = {path for path in {line.model for line in watched} if self._watch.changed(Path(path))}
        return [line.name for line in watched if line.model in changed]


class ModelWatch:
    """Detects that a model file was replaced: its inode, size or time changed and then stayed the same for one look."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int, int]] = {}
        self._seen: dict[Path, tuple[int, int, int]] = {}

    def remember(self, path: Path) -> None:
        """Record that the file is loaded as it is now. Call it before the file is read."""
        self._known.pop(path, None)
        self._seen.pop(path, None)
        self.changed(path)

    def changed(self, path: Path) -> bool:
        """Return whether to load the file again. Call it once for each look. The first call for a path only remembers it."""
        try:
            facts = path.stat()
        except OSError:
            return False  # the running file stays until there is another one
        stamp = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        known, seen = self._known.setdefault(path, stamp), self._seen.get(path, stamp)
        self._seen[path] = stamp
        if stamp == known or stamp != seen:  # a file that is still being written is not loaded
            return False
        self._known[path] = stamp
        return True


def _sharing(lines: Sequence[RunningLine]) -> list[list[RunningLine]]:
    """Return the lines in groups that share a source.

    Raises:
        ConfigError: two lines share a source, but their model files need different items.
    """
    groups: dict[str, list[RunningLine]] = {}
    for line in lines:
        shared = line.line.shared
        group = groups.setdefault(f"shared {shared}" if shared else f"line {line.line.name}", [])
        group.append(line)
        if not same_items(group[0].detector.card.input, line.detector.card.input):
            raise ConfigError(
                f"line {line.line.name}: expected a model file for the same items as line {group[0].line.name}, because both use "
                f"the source {shared}; got another number of channels or other windows. Give the line a source of its own."
            )
    return list(groups.values())
