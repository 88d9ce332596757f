"""What a model file's verdicts are worth on logs whose rows are labelled: by file, and in all."""

import numpy as np
from msgspec import Struct

from andon.calibration.evaluation import metrics
from andon.calibration.evaluation.counting import Counts, count
from andon.runtime.detector import Detector
from andon.runtime.errors import ConfigError, DataError
from andon.runtime.progress import Progress, silent, track
from andon.runtime.schema import Status, WindowSpec
from andon.sources.items import Item
from andon.sources.log import Log
from andon.sources.log_truth import WindowTruth, events_of, window_truth
from andon.sources.source import collect
from andon.sources.windows import WindowCollection, cut


class RunFigures(Struct, frozen=True, kw_only=True):
    """One file, or all of them."""

    name: str
    counts: Counts
    auroc: float | None
    """Of windows, defective against good; None where there is only one kind. Windows in recovery count as neither."""
    aupr: float | None


class LogEvaluation(Struct, frozen=True, kw_only=True):
    """Figures by file and in all. The area over all files says whether one threshold can serve them all."""

    runs: tuple[RunFigures, ...]
    total: RunFigures
    mean_auroc: float | None
    """Mean over files."""
    threshold: float
    promise: str
    within_promise: bool | None


class LogVerdicts(Struct, frozen=True, kw_only=True):
    """All windows whose truth is known, judged; by window."""

    log: Log
    windows: WindowCollection
    truth: dict[str, WindowTruth]
    status: dict[str, Status]
    scores: dict[str, float]
    """NaN where INVALID by the source."""


def evaluate_logs(detector: Detector, data: str | Log, *, progress: Progress = silent) -> LogEvaluation:
    """Judge all windows, at the file's own steps and hop, and count.

    Raises:
        DataError: no labels.
        ConfigError: the file judges frames.
    """
    return log_figures(detector, judge_logs(detector, data, progress=progress))


def judge_logs(detector: Detector, data: str | Log, *, progress: Progress = silent) -> LogVerdicts:
    """Judge all windows whose truth is known.

    Raises:
        DataError: no labels.
        ConfigError: the file judges frames.
    """
    spec = detector.card.input
    log = collect(data) if isinstance(data, str) else data
    if not isinstance(log, Log) or not isinstance(spec, WindowSpec):
        raise ConfigError("this evaluation is of windows; both the model file and the data must be of sensor logs.")
    windows = cut(log, spec)
    truth = window_truth(log, spec, windows.refs)
    if not truth:
        raise DataError("the log has no labels: expected a column named anomaly, label or faulty, of 0 and 1.")
    status: dict[str, Status] = {}
    scores: dict[str, float] = {}
    for ref in track([ref for ref in windows.refs if ref.key in truth], progress, "evaluating"):
        item = windows.read(ref)
        verdict = detector(item.data) if isinstance(item, Item) else None
        status[ref.key] = verdict.status if verdict else Status.INVALID
        scores[ref.key] = verdict.score if verdict else float("nan")
    return LogVerdicts(log=log, windows=windows, truth=truth, status=status, scores=scores)


def log_figures(detector: Detector, verdicts: LogVerdicts) -> LogEvaluation:
    """Figures by file and in all."""
    log, windows, truth = verdicts.log, verdicts.windows, verdicts.truth
    status, scores = verdicts.status, verdicts.scores
    calibration = detector.card.calibration
    alpha = calibration.alpha if calibration else 0.0
    by_run: dict[str, dict[str, WindowTruth]] = {}
    for ref in windows.refs:
        if ref.key in truth:
            by_run.setdefault(ref.group, {})[ref.key] = truth[ref.key]
    runs = tuple(
        _figures(
            run.name,
            by_run.get(run.name, {}),
            status,
            scores,
            alpha=alpha,
            faults=[event for event, _, _ in events_of(run)],
        )
        for run in log.runs
        if run.faulty is not None
    )
    total = _figures(
        "all", truth, status, scores, alpha=alpha, faults=[event for run in log.runs for event, _, _ in events_of(run)]
    )
    areas = [run.auroc for run in runs if run.auroc is not None]
    promised = calibration is not None and calibration.kind.startswith("promise")
    return LogEvaluation(
        runs=runs,
        total=total,
        mean_auroc=float(np.mean(areas)) if areas else None,
        threshold=detector.threshold,
        promise=calibration.sentence if calibration else "",
        within_promise=total.counts.within_promise(alpha) if promised and total.counts.good else None,
    )


def _figures(
    name: str,
    truth: dict[str, WindowTruth],
    status: dict[str, Status],
    scores: dict[str, float],
    *,
    alpha: float,
    faults: list[str],
) -> RunFigures:
    judged = [key for key, window in truth.items() if status[key] != Status.INVALID and (window.good or window.faulty)]
    values = np.array([scores[key] for key in judged])
    faulty = np.array([truth[key].faulty for key in judged], np.bool_)
    both = bool(faulty.any() and not faulty.all())
    return RunFigures(
        name=name,
        counts=count(truth, status, alpha=alpha, faults=faults),
        auroc=metrics.auroc(values, faulty) if both else None,
        aupr=metrics.aupr(values, faulty) if both else None,
    )
