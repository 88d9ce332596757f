"""Run the whole workflow on a simulated power converter: train, calibrate, export, and monitor it with faults."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.demo.power_converter import ConverterSettings, schedule_faults, simulate
from andon.evaluation.figures.chance import within_promise
from andon.evaluation.figures.window_counts import Counts, count
from andon.evaluation.logs import judge_logs, log_figures
from andon.evaluation.report.headline import model_facts
from andon.evaluation.report.report import logs_report
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
from andon.training.detectors import whitening
from andon.training.runs.export_run import export_run
from andon.training.runs.train import TrainOptions, train

REPORT = "report"
"""The folder of the report, within the output folder. Its page is ``index.html``."""
STEPS = 64
FALSE_REJECT = 0.01


class Size(Struct, frozen=True, kw_only=True):
    """Size of the simulation and the training."""

    runs: int = 3000
    """Independent runs of the converter with one window each: 2 100 for training and 900 for calibration."""
    stream_rows: int = 60_000
    faults: int = 12
    """Number of faults in the stream, at least 1."""


class Promise(Struct, frozen=True):
    """The promise of the demo's model file."""

    alpha: float
    confidence: float
    n: int


class Summary(Struct, frozen=True, kw_only=True):
    """Content of ``summary.json``."""

    faults_injected: int
    faults_caught: int
    dummy_caught: float
    """Mean number of faults detected by random rejects at the promised rate."""
    good_windows: int
    false_rejects: int
    false_rejects_allowed: int
    """99 % quantile of the number of false rejects for a true rate of alpha."""
    within_promise: bool
    promise: Promise
    seconds: float
    seed: int
    model: str
    simulated_hours: float


class FaultRow(Struct, frozen=True, kw_only=True):
    """One fault of the stream, reported after its end."""

    number: int
    kind: str
    begun_s: float
    caught: bool
    delay_s: float | None
    """Time from the onset of the fault to the end of the first window with REJECT. None if it was not detected."""
    highest_level: float
    channel: str
    """Channel with the largest score relative to its usual score, in the window with the highest level."""


class Events(Struct, frozen=True, kw_only=True):
    """Callbacks that report the progress of the demo."""

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
    """Run the demo and return its summary.

    Args:
        out: output folder for ``model.onnx``, ``verdicts.jsonl``, ``report/index.html``, ``summary.json`` and the run folder.
        seed: seed of simulation and training.
        date: ISO date for the calibration log of the file.
        size: size of the simulation. None means the size of ``andon demo``.
        events: callbacks for stages, faults and false rejects.
        clock: clock of the monitor. None means the system clock.

    Raises:
        TrainingError: the folder already contains a demo.
    """
    start_s = time.perf_counter()
    report, folder, size = events or Events(), Path(out), size or Size()
    existing = next((name for name in _WRITTEN if (folder / name).exists()), None)
    if existing is not None:  # otherwise the verdicts of two demos would be in one file
        raise TrainingError(
            f"{folder}: expected a folder without a demo, found {existing}. Give another --out, or delete it."
        )
    report.stage(f"simulating {size.runs} independent runs of a power converter, all good")
    settings = ConverterSettings()
    good = simulate(settings, seed=2 * seed, runs=size.runs, rows=STEPS)
    report.stage("training on the good runs: whitening of windows of 64 rows")
    run = train(
        "whitening",
        good,
        folder / "run",
        settings=whitening.Settings(steps=STEPS, hop=STEPS),
        options=TrainOptions(seed=seed, device="cpu", threads=1),
        progress=report.progress,
    )
    report.stage("exporting one ONNX file; its threshold is calibrated on runs that were not used for training")
    exported = export_run(
        run,
        folder / "model.onnx",
        request=CalibrationRequest(promise=PromiseRequest(false_reject=FALSE_REJECT), date=date),
        data=good,
        name="converter",
        progress=report.progress,
    )
    calibration = exported.model.card.calibration
    assert calibration is not None
    report.stage(f"the file promises: {calibration.sentence}")

    faults = schedule_faults(2 * seed + 1, size.faults, rows=size.stream_rows, settings=settings)
    line = simulate(settings, seed=2 * seed + 1, runs=1, rows=size.stream_rows, faults=faults)
    hours = size.stream_rows * settings.period_s / 3600
    report.stage(f"monitoring {hours:.1f} simulated hours with {size.faults} faults, with this file only")
    watch = _Watch(line, run.spec, report)
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
    report.stage("writing the report")
    judged = judge_logs(detector, line, progress=report.progress)
    logs_report(
        folder / REPORT,
        model_facts(detector, "model.onnx", f"{hours:.1f} simulated hours of the power converter"),
        log_figures(detector, judged),
        judged,
        detector,
        progress=report.progress,
    )
    summary = Summary(
        faults_injected=counts.faults,
        faults_caught=counts.caught,
        dummy_caught=counts.dummy_caught,
        good_windows=counts.good,
        false_rejects=counts.false_rejects,
        false_rejects_allowed=_allowed(counts.good, calibration.alpha),
        within_promise=counts.within_promise(calibration.alpha),
        promise=Promise(calibration.alpha, calibration.confidence, calibration.n),
        seconds=round(time.perf_counter() - start_s, 2),
        seed=seed,
        model=exported.model.short_digest,
        simulated_hours=hours,
    )
    write_atomically(folder / "summary.json", msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    return summary


_WRITTEN = ("run", "model.onnx", "verdicts.jsonl", "summary.json")


class _Watch:
    """A sink that compares verdicts with the truth and reports each fault after its end."""

    def __init__(self, line: Log, spec: object, report: Events) -> None:
        assert isinstance(spec, WindowSpec)
        self.spec = spec
        self.outcomes: list[Outcome] = []
        self.lost = 0
        self.summary = ""
        self._report = report
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
        """Record one verdict."""
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
            self._report.fault(self._row(event, self._open.pop(event)))
        if truth.good and outcome.verdict.status is Status.REJECT:
            self._report.false_reject(outcome.ref.time_s or 0.0, outcome.verdict.level)
        self._report.progress("monitoring", len(self._status), len(self._truth))

    def close(self) -> None:
        """Report faults that last until the end of the stream."""
        for event, outcomes in self._open.items():
            self._report.fault(self._row(event, outcomes))
        self._open.clear()

    def counts(self, alpha: float) -> Counts:
        """Count faults and false rejects over all windows."""
        self.close()
        judged: dict[str, WindowTruth] = {key: self._truth[key] for key in self._status}
        return count(judged, self._status, alpha=alpha, faults=self._events)

    def _typical(self) -> NDArray[np.float32]:
        """Return the median score of each channel so far. A noisy channel has a high score even without a fault."""
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
