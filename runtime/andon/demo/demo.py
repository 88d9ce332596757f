"""The whole way on simulated data: a power converter is learnt, calibrated, exported, and watched while faults come and go."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.demo.plots import draw_faults, draw_stream
from andon.demo.power_converter import ConverterSettings, schedule_faults, simulate
from andon.evaluation.figures.chance import within_promise
from andon.evaluation.figures.window_counts import Counts, count
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import TrainingError
from andon.foundation.progress import Progress, silent
from andon.monitor.judging import Outcome
from andon.monitor.loop import monitor
from andon.monitor.sinks.json_lines import JsonLines
from andon.runtime.detector import Detector
from andon.runtime.judge import judge_of
from andon.runtime.schema import Status, WindowSpec
from andon.sources.clock import Clock, SystemClock
from andon.sources.series.log import Log
from andon.sources.series.log_truth import WindowTruth, events_of, window_truth
from andon.sources.series.replay import replay_log
from andon.sources.series.windows import cut
from andon.training.detectors import window_vae
from andon.training.runs.export_run import export_run
from andon.training.runs.train import TrainOptions, train

STEPS = 64
FALSE_REJECT = 0.01


class Size(Struct, frozen=True, kw_only=True):
    """How much is simulated and learnt."""

    runs: int = 3000
    """Independent runs of the converter, one window each: 1 800 to learn from, 300 to stop by, 900 to calibrate on."""
    epochs: int = 40
    stream_rows: int = 60_000
    faults: int = 12
    """In the stream; at least 1."""


class Promise(Struct, frozen=True):
    """What the demo's file promises."""

    alpha: float
    confidence: float
    n: int


class Summary(Struct, frozen=True, kw_only=True):
    """What ``summary.json`` holds."""

    faults_injected: int
    faults_caught: int
    dummy_caught: float
    """Faults that rejecting at random at the promised rate would catch, on average."""
    good_windows: int
    false_rejects: int
    false_rejects_allowed: int
    """The 99 % quantile of what a true rate of alpha gives."""
    within_promise: bool
    promise: Promise
    seconds: float
    seed: int
    model: str
    simulated_hours: float


class FaultRow(Struct, frozen=True, kw_only=True):
    """One fault of the stream, once it is over."""

    number: int
    kind: str
    begun_s: float
    caught: bool
    delay_s: float | None
    """From its onset to the end of the first window that is REJECT."""
    highest_level: float
    channel: str
    """The channel whose score rose most over what is usual for it, in the window of the highest score."""


class Events(Struct, frozen=True, kw_only=True):
    """Whom the demo tells what it does."""

    stage: Callable[[str], None] = lambda _text: None
    fault: Callable[[FaultRow], None] = lambda _row: None
    false_reject: Callable[[float, float], None] = lambda _time_s, _level: None
    progress: Progress = silent


def demo(
    out: Path | str,
    *,
    seed: int,
    date: str,
    size: Size | None = None,
    events: Events | None = None,
    clock: Clock | None = None,
) -> Summary:
    """Run it.

    Args:
        out: a folder for ``model.onnx``, ``verdicts.jsonl``, ``pictures/*.png``, ``summary.json`` and the run folder.
        seed: of simulation and training.
        date: ISO date for the file's log.
        size: how much is simulated; None: as ``andon demo`` does.
        events: told of stages, faults and false rejects as they come.
        clock: for the monitor.

    Raises:
        TrainingError: there is a demo in that folder already.
    """
    begun_s = time.perf_counter()
    tell, folder, size = events or Events(), Path(out), size or Size()
    there = next((name for name in _WRITTEN if (folder / name).exists()), None)
    if there is not None:  # the verdicts of two demos in one file would belong to no summary
        raise TrainingError(f"{folder}: there is a demo already ({there}). Give another --out, or delete it.")
    tell.stage(f"simulating {size.runs} independent runs of a power converter, all good")
    settings = ConverterSettings()
    good = simulate(settings, seed=2 * seed, runs=size.runs, rows=STEPS)
    tell.stage("learning what good looks like: a variational autoencoder over windows of 64 rows")
    vae = window_vae.Settings(steps=STEPS, hop=STEPS, epochs=size.epochs)
    run = train(
        "window_vae",
        good,
        folder / "run",
        settings=vae,
        options=TrainOptions(seed=seed, device="cpu", threads=1),
        progress=tell.progress,
    )
    tell.stage("exporting one ONNX file, its threshold calibrated on runs that were never trained on")
    exported = export_run(
        run,
        folder / "model.onnx",
        request=CalibrationRequest(promise=PromiseRequest(false_reject=FALSE_REJECT), date=date),
        data=good,
        name="converter",
        progress=tell.progress,
    )
    calibration = exported.model.card.calibration
    assert calibration is not None
    tell.stage(f"the file promises: {calibration.sentence}")

    faults = schedule_faults(2 * seed + 1, size.faults, rows=size.stream_rows, settings=settings)
    line = simulate(settings, seed=2 * seed + 1, runs=1, rows=size.stream_rows, faults=faults)
    hours = size.stream_rows * settings.period_s / 3600
    tell.stage(f"watching {hours:.1f} simulated hours with {size.faults} faults, through the file alone")
    watch = _Watch(line, run.spec, tell)
    detector, stop, clock = Detector.load(folder / "model.onnx"), threading.Event(), clock or SystemClock()
    verdicts = JsonLines(str(folder / "verdicts.jsonl"), clock=clock, stop=stop)
    try:
        monitor(
            judge_of(detector),
            lambda: replay_log(line, watch.spec, clock, "max", stop),
            [verdicts, watch],
            clock,
            stop,
            name="converter",
        )
    finally:
        verdicts.close()
    counts = watch.counts(calibration.alpha)
    draw_stream(folder / "pictures" / "stream.png", line, watch.outcomes, detector.threshold)
    draw_faults(folder / "pictures" / "faults.png", line, watch.outcomes, detector.threshold)
    summary = Summary(
        faults_injected=counts.faults,
        faults_caught=counts.caught,
        dummy_caught=counts.dummy_caught,
        good_windows=counts.good,
        false_rejects=counts.false_rejects,
        false_rejects_allowed=_allowed(counts.good, calibration.alpha),
        within_promise=counts.within_promise(calibration.alpha),
        promise=Promise(calibration.alpha, calibration.confidence, calibration.n),
        seconds=round(time.perf_counter() - begun_s, 2),
        seed=seed,
        model=exported.model.short_digest,
        simulated_hours=hours,
    )
    write_atomically(folder / "summary.json", msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    return summary


_WRITTEN = ("run", "model.onnx", "verdicts.jsonl", "summary.json")


class _Watch:
    """A sink that holds verdicts against the truth as they come, and tells of each fault once it is over."""

    def __init__(self, line: Log, spec: object, tell: Events) -> None:
        assert isinstance(spec, WindowSpec)
        self.spec = spec
        self.outcomes: list[Outcome] = []
        self.lost = 0
        self.summary = ""
        self._tell = tell
        self._truth = window_truth(line, spec, cut(line, spec).refs)
        self._status: dict[str, Status] = {}
        self._names = [channel.name for channel in spec.channels]
        self._events = {
            event: (str(run.fault[first]) if run.fault is not None else "", float(run.times_s[first]))
            for run in line.runs
            for event, first, _ in events_of(run)
        }
        self._open: dict[str, list[Outcome]] = {}
        self._usual: list[NDArray[np.float32]] = []

    def put(self, outcome: Outcome) -> None:
        """Note one verdict."""
        key, truth = outcome.ref.key, self._truth.get(outcome.ref.key)
        if truth is None or outcome.data is None:
            return
        self.outcomes.append(outcome)
        self._status[key] = outcome.verdict.status
        if outcome.verdict.status is Status.OK:
            self._usual.append(outcome.verdict.evidence["channel_scores"])
        for event in truth.events:
            self._open.setdefault(event, []).append(outcome)
        for event in [event for event in self._open if event not in truth.events]:
            self._tell.fault(self._row(event, self._open.pop(event)))
        if truth.good and outcome.verdict.status is Status.REJECT:
            self._tell.false_reject(outcome.ref.time_s or 0.0, outcome.verdict.level)
        self._tell.progress("watching", len(self._status), len(self._truth))

    def close(self) -> None:
        """Tell of faults that lasted to the end."""
        for event, outcomes in self._open.items():
            self._tell.fault(self._row(event, outcomes))
        self._open.clear()

    def counts(self, alpha: float) -> Counts:
        """All windows, counted."""
        self.close()
        judged: dict[str, WindowTruth] = {key: self._truth[key] for key in self._status}
        return count(judged, self._status, alpha=alpha, faults=self._events)

    def _typical(self) -> NDArray[np.float32]:
        """The median of each channel's score so far: a noisy channel has a high one when nothing is wrong with it."""
        if not self._usual:
            return np.ones(len(self._names), np.float32)
        return np.maximum(np.median(np.stack(self._usual), axis=0).astype(np.float32), 1e-12)

    def _row(self, event: str, outcomes: list[Outcome]) -> FaultRow:
        kind, begun_s = self._events[event]
        rejects = [outcome for outcome in outcomes if outcome.verdict.status is Status.REJECT]
        highest = max(outcomes, key=lambda outcome: outcome.verdict.level)
        return FaultRow(
            number=list(self._events).index(event) + 1,
            kind=kind,
            begun_s=begun_s,
            caught=bool(rejects),
            delay_s=(rejects[0].ref.time_s or 0.0) - begun_s if rejects else None,
            highest_level=highest.verdict.level,
            channel=self._names[int((highest.verdict.evidence["channel_scores"] / self._typical()).argmax())],
        )


def _allowed(good: int, alpha: float) -> int:
    allowed = 0
    while within_promise(allowed + 1, good, alpha):
        allowed += 1
    return allowed
