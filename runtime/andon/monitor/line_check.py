"""Check that a configured line could run: load its model, read and judge one item of its source, look at the target of each sink.

A check changes nothing: sinks are not opened, and standard input is not read, because an item that was read cannot be put back.
"""

import contextlib
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.printable import printable
from andon.foundation.settings import fields
from andon.monitor.config import ChosenSource, Line
from andon.monitor.judging import Outcome
from andon.monitor.line import open_model, sink_context, stale_after_s
from andon.monitor.loaded_models import LoadedModels
from andon.monitor.loop import monitor
from andon.monitor.reject_kind import ChosenReject
from andon.monitor.sink import ChosenSink, SinkContext
from andon.monitor.trigger_kind import TriggerContext
from andon.runtime.detector import Detector
from andon.runtime.judge import judge_of
from andon.runtime.schema import Reason, Status
from andon.sources.clock import Clock
from andon.sources.collection import Stream

LEAST_FREE_BYTES = 1 << 20
"""Free space below which a disk counts as full, in bytes. One picture of a reject can have half of it."""


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check."""

    line: str
    """Name of the line. Empty for the parts of the whole process."""
    subject: str
    """``model``, ``source``, ``parts``, ``store``, ``web``, or a sink, output, reject signal or trigger with its kind, for
    example ``sink 1 (json_lines)``.
    """
    ok: bool
    """False if the line could not run, or would only lose or refuse what it gets."""
    text: str
    """Readable result. It contains no secret."""
    warning: bool = False
    """True if the line can run, but the text names a risk."""


class LineCheck(Struct, frozen=True, kw_only=True):
    """All findings about one line."""

    findings: tuple[Finding, ...]
    hung: bool
    """True if a thread of the source still runs. Ending the interpreter may then abort the process."""

    @property
    def ok(self) -> bool:
        """True if the line could run."""
        return all(finding.ok for finding in self.findings)


def check_line(line: Line, clock: Clock, *, limit_s: float) -> LineCheck:
    """Check the model, the source and each sink of a line.

    Args:
        line: the configured line.
        clock: see `monitor`.
        limit_s: longest wait for the first item of the source, in seconds.
    """
    findings: list[Finding] = []

    def note(subject: str, look: Callable[[], str]) -> None:
        try:
            ok, text = True, look()
        except AndonError as error:
            ok, text = False, str(error)
        findings.append(Finding(line=line.name, subject=subject, ok=ok, text=printable(text, limit=1000)))

    def warn(subject: str, text: str) -> None:
        findings.append(Finding(line=line.name, subject=subject, ok=True, text=text, warning=True))

    loaded: list[Detector] = []
    hung: list[bool] = []

    def model() -> str:
        loaded.append(open_model(line, LoadedModels()))
        return _model_text(line, loaded[0])

    def source() -> str:
        if not loaded:
            raise ConfigError("not checked, because the model file is not usable.")
        line.source.require_accepted()
        if line.source.kind.name == "stdin":
            return "standard input is not read by a check"
        probe = _probe(line, loaded[0], clock, limit_s)
        hung.append(probe.hung)
        return _source_text(line.source, probe, limit_s)

    note("model", model)
    note("source", source)
    if loaded and (advice := line.source.kind.advice(loaded[0].card.input)):
        warn("source", advice)
    context: SinkContext | None = None
    if loaded:
        with contextlib.suppress(
            AndonError
        ):  # a secret of the source that cannot be read is a finding about the source
            context = sink_context(line, loaded[0], clock, threading.Event())
    for number, sink in enumerate(line.sinks, 1):
        note(f"sink {number} ({sink.kind.name})", functools.partial(_sink_text, sink, context))
    if line.reject is not None:
        note(f"reject ({line.reject.kind.name})", functools.partial(_reject_text, line.reject))
    if line.trigger is not None:
        note(f"trigger ({line.trigger.kind.name})", functools.partial(_trigger_text, line, clock))
    if line.needs_a_program:
        warn(
            "parts",
            'trigger = "external" without a table [line.trigger]: only a program that calls Monitor.trigger can begin a part, '
            "and 'andon monitor' refuses this line",
        )
    return LineCheck(findings=tuple(findings), hung=any(hung))


def _model_text(line: Line, detector: Detector) -> str:
    card = detector.card
    promise = card.calibration.sentence if card.calibration else "no promise"
    return f"{line.model}: {card.name}, {card.detector} v{card.detector_version}, digest {detector.model.digest[:12]}; {promise}"


def _reject_text(reject: ChosenReject) -> str:
    """Open the device, which reads its secrets, and close it.

    Raises:
        AndonError: the device cannot be opened.
    """
    reject.open().close()
    return "its settings are valid; no signal was given"


def _trigger_text(line: Line, clock: Clock) -> str:
    """Open the triggers, which reads their secrets.

    Raises:
        AndonError: they cannot be opened.
    """
    assert line.trigger is not None
    line.trigger.open(TriggerContext(line=line.name, clock=clock, stop=threading.Event()))
    return "its settings are valid; no connection was opened"


class _FirstItem:
    """A sink that keeps the first outcome that is neither a silence nor a warm-up, and then stops the run."""

    lost = 0
    summary = ""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.outcome: Outcome | None = None
        """An outcome of the warm-up, as long as there is no other one."""
        self.silence = ""

    def put(self, outcome: Outcome) -> None:
        if self._stop.is_set() and self.outcome is not None:
            return
        if outcome.verdict.reason is Reason.STALE:
            self.silence = outcome.detail
            return
        self.outcome = outcome
        if outcome.verdict.reason is not Reason.WARMING:
            self._stop.set()

    def close(self) -> None:
        pass


class _Probe(NamedTuple):
    outcome: Outcome | None
    """The first outcome, see `_FirstItem`."""
    silence: str
    """Description of the last silence. Empty if there was none."""
    took_s: float
    timed_out: bool
    hung: bool
    """True if the reader did not return from the source."""
    waiting: bool
    """True if the source has shown at the end that it works and waits for a trigger."""


def _probe(line: Line, detector: Detector, clock: Clock, limit_s: float) -> _Probe:
    """Read and judge one item.

    Raises:
        AndonError: the source cannot be opened.
    """
    source = line.source
    stop, timed_out = threading.Event(), threading.Event()
    first = _FirstItem(stop)

    opened: list[Stream] = []
    waiting: list[bool] = []

    def open_stream() -> Stream:
        opened.append(source.open(detector.card.input, clock, stop))
        return opened[-1]

    def give_up() -> None:
        waiting.extend(bool(getattr(stream, "waiting", False)) for stream in opened[-1:])
        timed_out.set()
        stop.set()

    began_s = clock.mono_s()
    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        finished = monitor(
            judge_of(detector),
            open_stream,
            [first],
            clock,
            stop,
            name=source.kind.name,
            live=source.kind.live,
            stale_after_s=stale_after_s(line),
        )
    finally:
        timer.cancel()
    return _Probe(
        first.outcome, first.silence, clock.mono_s() - began_s, timed_out.is_set(), finished.hung, any(waiting)
    )


def _source_text(source: ChosenSource, probe: _Probe, limit_s: float) -> str:
    """Return what was found.

    Raises:
        ConfigError: the source gave no item, or one that cannot be read or judged.
    """
    outcome = probe.outcome
    if outcome is None:
        if probe.timed_out and not probe.hung and source.endless and not source.kind.live and not probe.silence:
            return f"{source.shown}: no item within {limit_s:g} s. The line would wait for the first one"
        if probe.timed_out and probe.waiting:
            return (
                f"{source.shown}: it works, but no item within {limit_s:g} s, because the camera waits for its trigger"
            )
        nothing = f"no item within {limit_s:g} s" if probe.timed_out else "the source ended without an item"
        raise ConfigError(f"{source.shown}: expected an item, got none: {probe.silence or nothing}.")
    size = "" if outcome.data is None else f", {' x '.join(map(str, outcome.data.shape))}"
    found = f"{source.shown}: read {outcome.ref.key}{size} after {probe.took_s:.1f} s"
    verdict = outcome.verdict
    if verdict.status is not Status.INVALID:
        return f"{found}; verdict {verdict.status.name}, score {verdict.score:.4g}, threshold {verdict.threshold:.4g}"
    if verdict.reason in _OF_CONTENT:
        return f"{found}; verdict INVALID ({verdict.reason.name.lower()}): {outcome.detail}"
    raise ConfigError(f"{found}, which cannot be judged ({verdict.reason.name.lower()}): {outcome.detail}")


_OF_CONTENT = frozenset({Reason.NO_CONTRAST, Reason.OTHER_SCENE, Reason.OUTSIDE_TRAINING, Reason.WARMING, Reason.GAP})
"""Reasons of INVALID for which the line works. The next part or window can be judged."""


def _sink_text(sink: ChosenSink, context: SinkContext | None) -> str:
    """Return what was found at the targets of a sink. Without a context, only the targets are checked.

    Raises:
        AndonError: a target cannot be written, or the sink refuses its settings.
    """
    texts = []
    for setting in fields(type(sink.settings)):
        value = getattr(sink.settings, setting.name)
        if setting.path and isinstance(value, str):
            texts.append("stdout" if value == "-" else target_text(Path(value), setting.path))
    if context is not None:
        try:
            sink.kind.check(sink.settings, context)
        except AndonError:
            raise
        except Exception as error:
            raise ConfigError(f"the check of the sink failed: {type(error).__name__}: {error}") from error
    return "; ".join(texts) or "its settings are valid; its target was not tried"


def target_text(target: Path, kind: str) -> str:
    """Return the free space at a file or folder that a sink writes, and whether it exists.

    Raises:
        ConfigError: it cannot be written, or the disk is full.
    """
    if kind == "file" and target.is_dir():
        raise ConfigError(f"{target}: expected a file or a new name, got a folder. Choose another path.")
    if kind == "folder" and target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: expected a folder or a new name, got a file. Choose another path.")
    folder = target if kind == "folder" else target.parent
    if kind == "folder":  # the sink creates missing folders
        folder = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"andon check")
            trial.flush()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {folder}: {error.strerror or error}.") from error
    if kind == "file" and target.exists() and not os.access(target, os.W_OK):
        raise ConfigError(f"{target}: cannot be written: it is read-only. Change its permissions.")
    if free < LEAST_FREE_BYTES:
        raise ConfigError(f"{target}: the disk is full: {free} bytes are free. Free some space.")
    return f"{target}: {'exists' if target.exists() else 'will be created'}; {free / 1e9:.1f} GB free"
