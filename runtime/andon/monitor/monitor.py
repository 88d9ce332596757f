"""Run lines inside another program: the library form of ``andon monitor``.

Example::

    from andon.monitor import Monitor

    def show(outcome):
        print(outcome.ref.key, outcome.verdict.status.name)

    with Monitor() as monitor:
        monitor.add_line("press-3", model="washers.onnx", source=my_camera.frames(), on_outcome=show)
        monitor.start()
        ...

Callbacks run in the thread of their line: they delay the next item while they run. An error in a callback is logged, and the
line goes on without this callback. A callback may call `Monitor.stop`, which then returns at once.
"""

import atexit
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_mapping
from andon.monitor.alarms import AlarmRule
from andon.monitor.config import ChosenSource, Configuration, Line, Policy, checked_name, read_configuration
from andon.monitor.event import Event, ModelChanged
from andon.monitor.judging import Outcome
from andon.monitor.service import Service
from andon.monitor.sink import ChosenSink, Sink
from andon.monitor.status import ProcessStatus
from andon.monitor.supervisor import RunEnd
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import Stream
from andon.sources.iterator import stream_of
from andon.sources.source import Source, find
from andon.sources.stream_settings import NoSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

OnOutcome = Callable[[Outcome], None]
"""A function that gets each outcome of a line, in order."""


class _Calls(threading.local):
    """Remember whether this thread runs a callback. Then it cannot wait for the monitor, which waits for the callback."""

    running = False


class Monitor:
    """Lines that run in threads of this program. Use it as a context manager, or call `stop` at the end.

    Args:
        configuration: path of a LINE.toml, for a monitor with an event store, outputs, controllers or a web server. Its lines run
            together with those of `add_line`. None: no file.
        clock: for tests.
        on_event: gets each event of all lines, in the thread that caused it.

    Raises:
        ConfigError: the file is wrong.
    """

    def __init__(
        self,
        configuration: str | Path | None = None,
        *,
        clock: Clock | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._configuration = (
            read_configuration(configuration) if configuration is not None else Configuration(lines=())
        )
        self._clock = clock or SystemClock()
        self._user_on_event = on_event
        self._calls = _Calls()
        self._callbacks: dict[str, list[OnOutcome]] = {}
        self._stop = threading.Event()
        self._opened = threading.Event()
        self._thread: threading.Thread | None = None
        self._service: Service | None = None
        self._end: RunEnd | None = None
        self._error: BaseException | None = None

    def add_line(
        self,
        name: str,
        *,
        model: str | Path,
        source: str | Iterable[Any],
        on_outcome: OnOutcome | None = None,
        sinks: Sequence[ChosenSink] = (),
        alarm: AlarmRule | None = None,
        settings: dict[str, object] | None = None,
        **policy: Any,
    ) -> None:
        """Add a line, before `start`.

        Args:
            name: name of the line.
            model: path of the model file.
            source: a path, URL or name as for ``andon monitor``, or any iterable of frames uint8 or uint16 ``[H, W]`` or
                ``[H, W, C]``, windows ``[T, C]``, or items. See `andon.sources.iterator.stream_of`. An iterable is not
                interrupted while it waits for its next element.
            on_outcome: see `OnOutcome`.
            sinks: further sinks, for example from `andon.monitor.sink.sink_from_text`.
            alarm: rule of the alarm ``rejects``.
            settings: settings of the source, for example ``{"follow": False}``. Only for a path, URL or name.
            policy: fields of `andon.monitor.config.Policy`, for example ``health=True``.

        Raises:
            ConfigError: the monitor has started, the name is used or not allowed, or a setting is unknown or out of range.
            DataError: no source accepts the text.
        """
        if self._thread is not None:
            raise ConfigError("add_line: expected a monitor that has not started, got a running one. Add lines first.")
        checked_name(name, "add_line: name")
        if name in {line.name for line in self._configuration.lines}:
            raise ConfigError(f"add_line: expected a name of its own, got {name!r} again. Choose another name.")
        line = Line(
            name=name,
            model=str(model),
            source=_source(source, settings or {}),
            sinks=tuple(sinks),
            policy=from_mapping(Policy, policy, where=f"line {name}"),
            alarm=alarm,
        )
        self._configuration = msgspec.structs.replace(self._configuration, lines=(*self._configuration.lines, line))
        if on_outcome is not None:
            self._callbacks.setdefault(name, []).append(on_outcome)

    def start(self) -> None:
        """Load all model files, and begin to judge. Return when all lines are open.

        Raises:
            AndonError: a model file, a sink, the store or the web server cannot be opened. No line runs then.
            ConfigError: there is no line, or the monitor has started before.
        """
        if self._thread is not None or not self._configuration.lines:
            found = "no line" if self._thread is None else "a monitor that has started before"
            raise ConfigError(f"start: expected at least one line and a new monitor, got {found}.")
        self._service = Service(
            self._configuration,
            self._clock,
            self._stop,
            on_event=None if self._user_on_event is None else self._on_event,
            extra_sinks=self._sinks,
        )
        # a daemon: Python waits for other threads before it calls the functions of atexit, and so for ever
        self._thread = threading.Thread(target=self._run, name="andon monitor", daemon=True)
        atexit.register(self._stop_at_exit)
        self._thread.start()
        self._opened.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def wait(self, timeout_s: float | None = None) -> RunEnd | None:
        """Wait until all sources have ended. Return None if they have not ended within the time limit.

        Raises:
            AndonError: the source of every line was refused.
            ConfigError: a callback called this without a time limit.
        """
        if self._calls.running and timeout_s is None:
            raise ConfigError(
                "wait: expected a time limit in a callback, got none. The monitor ends after its callbacks. Wait elsewhere."
            )
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        return self._end

    def stop(self) -> None:
        """End all lines within two seconds, store the last events, and close everything. A second call has no effect.

        A program that ends without this call is stopped in the same way, with a warning.

        A line whose source, judge, sink or callback does not return is abandoned after some seconds. In a callback this method
        returns at once, and the monitor ends after the callback.
        """
        self._stop.set()
        if self._thread is not None and not self._calls.running:
            self._thread.join()

    def status(self) -> ProcessStatus:
        """Return the state of all lines. It may be called from any thread.

        Raises:
            ConfigError: the monitor has not started.
        """
        return self._running().status()

    @property
    def page_url(self) -> str | None:
        """Address of the page for people. None without a table ``[web]`` in the configuration.

        Raises:
            ConfigError: the monitor has not started.
        """
        web = self._running().web
        return web.url if web is not None else None

    def reload(self, *lines: str) -> dict[str, ModelChanged]:
        """Load the model files of some or all lines again, while the lines go on judging. Return the result by line."""
        return self._running().supervisor.reload(lines or None)

    def acknowledge(self, line: str, alarm: str, number: int, *, by: str) -> bool:
        """Acknowledge an alarm before the next item of its line. Return False if there is no such line.

        Args:
            line: name of the line.
            alarm: name of the alarm, for example ``rejects``, ``health`` or ``drift``.
            number: number of the alarm that the person saw (`AlarmState.alarm`).
            by: name of the person or program, for the event.
        """
        return self._running().acknowledge(line, alarm, number, by=by)

    def trigger(self, line: str, *, part: str = "", number: int | None = None) -> bool:
        """Begin a part on a line with ``trigger = "external"``. Return False if there is no such line, or it has ended.

        Call it from any thread, before the part's first frame arrives.

        Args:
            line: name of the line.
            part: name of the part, if its frames have the same name. Empty: without a name.
            number: number of the trigger, if the program counts them. The same number again is ignored. A skipped number raises
                the alarm ``triggers``.

        Raises:
            ConfigError: the monitor has not started, or the parts of this line do not begin with a trigger.
        """
        return self._running().supervisor.trigger(line, part=part, number=number)

    def __enter__(self) -> "Monitor":
        """Return the monitor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the monitor."""
        self.stop()

    def _stop_at_exit(self) -> None:
        """Stop a monitor that the program has forgotten, so that the process ends and the last events are stored."""
        if self._thread is not None and self._thread.is_alive():
            logger.warning("the program ends without Monitor.stop. The monitor is stopped now")
            self.stop()

    def _running(self) -> Service:
        if self._service is None:
            raise ConfigError("expected a started monitor, got one before `start`. Call `start` first.")
        return self._service

    def _run(self) -> None:
        assert self._service is not None
        try:
            self._end = self._service.run(self._opened.set)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = error
        finally:
            self._opened.set()
            atexit.unregister(self._stop_at_exit)

    def _sinks(self, line: Line) -> Sequence[Sink]:
        return [_Callback(callback, self._calls) for callback in self._callbacks.get(line.name, [])]

    def _on_event(self, event: Event) -> None:
        assert self._user_on_event is not None
        _call(self._calls, self._user_on_event, event)


class _Callback:
    """A sink that calls a function of the user."""

    lost = 0
    summary = ""

    def __init__(self, function: OnOutcome, calls: _Calls) -> None:
        self._function = function
        self._calls = calls

    def put(self, outcome: Outcome) -> None:
        _call(self._calls, self._function, outcome)

    def close(self) -> None:
        pass


def _call(calls: _Calls, function: Callable[[T], None], value: T) -> None:
    before, calls.running = calls.running, True
    try:
        function(value)
    finally:
        calls.running = before


def _source(source: str | Iterable[Any], settings: dict[str, object]) -> ChosenSource:
    if isinstance(source, str):
        kind = find(source)
        if kind.stream is None:
            raise ConfigError(f"source: expected one that can be monitored, got {kind.name}. Use 'andon score'.")
        return ChosenSource(kind, source, from_mapping(kind.settings, settings, where=f"the source {kind.name}"))
    if settings:
        raise ConfigError("settings: expected none for an iterable, got some. They belong to a path, URL or name.")
    iterable = source

    def stream(_text: str, _spec: InputSpec, _settings: Any, clock: Clock, stop: threading.Event) -> Stream:
        return stream_of(iterable, clock=clock, stop=stop.is_set)

    kind = Source(
        name="iterator",
        summary="an iterable of the program",
        accepts=lambda _text: True,
        stream=stream,
        settings=NoSettings,
    )
    return ChosenSource(kind, "iterator", NoSettings())
