"""Evaluate the verdicts of a model file on logs with labelled rows, for each file and over all files.

`figures.window_counts` describes how windows are counted. In results for rows, the score of a row is the mean over all judged
windows that contain it, also windows that end after it. Rows in no judged window and rows in recovery are ignored.

An alarm is a REJECT verdict, at the time of the last row of its window. The alarm covers the whole window.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.evaluation.figures import ranking
from andon.evaluation.figures.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    file_draws,
    median_interval,
    rate_interval,
    ratio_interval,
)
from andon.evaluation.figures.other_scores import Areas, OtherScores, areas, by_score, deciding, other_scores
from andon.evaluation.figures.series import (
    SECONDS_A_DAY,
    EventOutcomes,
    PointCounts,
    judge_events,
    point_counts,
    vus_pr,
)
from andon.evaluation.figures.window_counts import Counts, count
from andon.evaluation.figures.window_mean import window_mean
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.runtime.judge import judge_items
from andon.runtime.schema import Status, WindowSpec
from andon.sources.series.log import Log, Run
from andon.sources.series.log_truth import WindowTruth, events_of, rows_of, window_truth
from andon.sources.series.windows import WindowCollection, cut
from andon.sources.source import collect


class RunFigures(Struct, frozen=True, kw_only=True):
    """Results of one file, or of all files together."""

    name: str
    counts: Counts
    auroc: float | None
    """AUROC of defective windows against good ones; None if there is only one kind. Windows in recovery count as neither."""
    aupr: float | None
    vus_pr: float | None = None
    """Figure over rows, see `series.vus_pr`.

    None if there is only one kind of rows, and for all files together, because they are not one series.
    """
    event_recall: float | None = None
    """Share of faults that were detected; None without faults. Read it together with `false_events_a_day`."""
    false_events: int = 0
    """Episodes of alarms that touch no fault."""
    false_events_a_day: float | None = None
    """False events per day of judged good operation; None if no good operation was judged."""
    good_s: float = 0.0
    """Judged good operation in seconds: the number of good windows times their hop."""
    median_delay_s: float | None = None
    """Median time from the first row of a fault to the first alarm that touches it; None without faults.

    A missed fault counts with its full length, so the median is a lower bound if many faults are missed.
    """
    points: PointCounts = PointCounts()
    """Counts of single rows. A row counts as an alarm if its score is above the threshold."""


class LogIntervals(Struct, frozen=True, kw_only=True):
    """Percentile intervals of results for all files: how much they could change with other files. None if undefined."""

    files: int
    level: float
    resamples: int
    seed: int
    mean_auroc: Interval | None
    mean_vus_pr: Interval | None
    event_recall: Interval | None
    """The exact interval over faults if all resamples give the same value."""
    false_events_a_day: Interval | None
    median_delay_s: Interval | None
    false_reject_rate: Interval | None
    miss_rate: Interval | None


class LogEvaluation(Struct, frozen=True, kw_only=True):
    """Results of each file and of all files together. The AUROC over all files shows whether one threshold fits them all."""

    runs: tuple[RunFigures, ...]
    total: RunFigures
    mean_auroc: float | None
    """Mean AUROC of the files."""
    threshold: float
    promise: str
    within_promise: bool | None
    mean_vus_pr: float | None = None
    """Mean VUS-PR of the files."""
    vus_buffer: int = 0
    """Longest buffer of `vus_pr`, in rows."""
    refractory_s: float = 0.0
    """Alarms closer together than this, in seconds, are one event."""
    f1: float | None = None
    """F1 over the rows of all files, as on the SKAB leaderboard.

    On SKAB, a score that depends only on the position in the file can reach a high F1.
    """
    f1_always: float | None = None
    """F1 of an alarm at every row. It needs no sensor data."""
    false_alarm_rate: float | None = None
    """Share of good rows with an alarm."""
    missed_alarm_rate: float | None = None
    """Share of faulty rows without an alarm."""
    intervals: LogIntervals | None = None
    """Confidence intervals; None if not requested, and for a single file."""
    window_mean_auroc: float | None = None
    """Mean AUROC of the files for the baseline, the mean of the worst channel (`figures.window_mean`)."""
    window_mean_vus_pr: float | None = None
    """Mean VUS-PR of the files for the baseline."""
    by_score: dict[str, Areas] = {}
    """AUROC and AUPR of all scores over all windows, the deciding score first; empty if the file gives only one score."""

    @property
    def beats_window_mean(self) -> bool | None:
        """True if the deciding score beats the baseline by VUS-PR, or by AUROC if there is none. None if both are undefined."""
        for own, baseline in (
            (self.mean_vus_pr, self.window_mean_vus_pr),
            (self.mean_auroc, self.window_mean_auroc),
        ):
            if own is not None and baseline is not None:
                return own > baseline
        return None


class LogVerdicts(Struct, frozen=True, kw_only=True):
    """The verdicts on all windows with known labels, by window, in time order within a file."""

    log: Log
    windows: WindowCollection
    truth: dict[str, WindowTruth]
    status: dict[str, Status]
    scores: dict[str, float]
    """Deciding score of each window; NaN for INVALID windows."""
    other_scores: dict[str, OtherScores] = {}
    """Other scores of windows that are not INVALID."""
    window_means: dict[str, float] = {}
    """Score of the baseline (`figures.window_mean`) of windows that are not INVALID."""


def evaluate_logs(
    detector: Detector,
    data: str | Log,
    *,
    vus_buffer: int | None = None,
    refractory_s: float | None = None,
    intervals: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> LogEvaluation:
    """Judge all windows, with the steps and the hop of the model file, and return the results.

    Args:
        detector: a detector for windows.
        data: a log, or a text that `andon.sources.source.collect` opens as a log.
        vus_buffer: as for `log_figures`.
        refractory_s: as for `log_figures`.
        intervals: as for `log_figures`.
        seed: as for `log_figures`.
        progress: called after each window.

    Raises:
        DataError: the log has no labels.
        ConfigError: the model file is for frames, or the data are not a log.
    """
    verdicts = judge_logs(detector, data, progress=progress)
    return log_figures(
        detector, verdicts, vus_buffer=vus_buffer, refractory_s=refractory_s, intervals=intervals, seed=seed
    )


def judge_logs(detector: Detector, data: str | Log, *, progress: Progress = silent) -> LogVerdicts:
    """Judge all windows with known labels.

    Raises:
        DataError: the log has no labels.
        ConfigError: the model file is for frames, or the data are not a log.
        JudgeError: the runtime failed, so results for the other windows would mislead.
    """
    spec = detector.card.input
    log = collect(data) if isinstance(data, str) else data
    if not isinstance(log, Log) or not isinstance(spec, WindowSpec):
        raise ConfigError("evaluation of sensor logs: expected a model file for sensor windows and a log, got frames.")
    windows = cut(log, spec)
    truth = window_truth(log, spec, windows.refs)
    if not truth:
        raise DataError(
            "log: expected a label column of 0 and 1, named anomaly, label or faulty, got none. Or give a table of "
            "faulty intervals with the columns start,end: --truth faults.csv."
        )
    status: dict[str, Status] = {}
    scores: dict[str, float] = {}
    others: dict[str, OtherScores] = {}
    means: dict[str, float] = {}
    known = [ref for ref in windows.refs if ref.key in truth]
    for ref in known:
        item = windows.read(ref)
        if isinstance(item, Item):
            means[ref.key] = window_mean(item.data, spec)
    for one in judge_items(detector, (windows.read(ref) for ref in track(known, progress, "evaluating"))):
        key, verdict = one.ref.key, one.verdict
        status[key], scores[key] = verdict.status, verdict.score
        if verdict.status != Status.INVALID:
            others[key] = other_scores(verdict)
    return LogVerdicts(
        log=log,
        windows=windows,
        truth=truth,
        status=status,
        scores=scores,
        other_scores=others,
        window_means={key: value for key, value in means.items() if status.get(key) not in (None, Status.INVALID)},
    )


def log_figures(
    detector: Detector,
    verdicts: LogVerdicts,
    *,
    vus_buffer: int | None = None,
    refractory_s: float | None = None,
    intervals: bool = True,
    seed: int = 0,
) -> LogEvaluation:
    """Return the results of each file and of all files together.

    Args:
        detector: the detector that judged the windows.
        verdicts: from `judge_logs`.
        vus_buffer: longest tolerance around a fault for `vus_pr`, in rows of the log. None: the length of a window.
        refractory_s: alarms closer together than this, in seconds, are one event. None: the length of a window plus its hop,
            so that consecutive windows are one event.
        intervals: whether to compute intervals by resampling files.
        seed: seed of the resampling.
    """
    log, spec = verdicts.log, verdicts.windows.spec
    calibration = detector.card.calibration
    alpha = calibration.alpha if calibration else 0.0
    rules = _Rules(
        alpha=alpha,
        threshold=detector.threshold,
        vus_buffer=round(spec.steps * spec.period_s / log.found.period_s) if vus_buffer is None else vus_buffer,
        refractory_s=(spec.steps + spec.hop) * spec.period_s if refractory_s is None else refractory_s,
    )
    by_run: dict[str, list[Ref]] = {}
    for ref in verdicts.windows.refs:
        if ref.key in verdicts.truth:
            by_run.setdefault(ref.group, []).append(ref)
    judged = [_judge(run, by_run.get(run.name, []), verdicts, rules) for run in log.runs if run.faulty is not None]
    runs, events = tuple(figures for figures, _, _ in judged), [events for _, events, _ in judged]
    total = _figures(
        "all",
        truth=verdicts.truth,
        verdicts=verdicts,
        counts=sum((run.counts for run in runs), Counts()),
        events=events,
        points=sum((run.points for run in runs), PointCounts()),
        good_s=sum(run.good_s for run in runs),
        volume=None,
    )
    points = total.points
    return LogEvaluation(
        runs=runs,
        total=total,
        mean_auroc=_mean([run.auroc for run in runs]),
        threshold=detector.threshold,
        promise=detector.promise,
        within_promise=total.counts.within_promise(alpha) if detector.promised and total.counts.good else None,
        mean_vus_pr=_mean([run.vus_pr for run in runs]),
        vus_buffer=rules.vus_buffer,
        refractory_s=rules.refractory_s,
        f1=_number(points.f1),
        f1_always=_number(points.always.f1),
        false_alarm_rate=_number(points.false_alarm_rate),
        missed_alarm_rate=_number(points.missed_alarm_rate),
        intervals=_intervals(runs, events, seed) if intervals and len(runs) > 1 else None,
        window_mean_auroc=_mean([one.auroc for _, _, one in judged]),
        window_mean_vus_pr=_mean([one.vus_pr for _, _, one in judged]),
        by_score=_by_score(deciding(detector.card.reading), verdicts),
    )


def _by_score(decides: str, verdicts: LogVerdicts) -> dict[str, Areas]:
    """Return the areas of all scores over the judged good and defective windows."""
    keys = [
        key
        for key, window in verdicts.truth.items()
        if key in verdicts.other_scores and (window.good or window.faulty) and np.isfinite(verdicts.scores[key])
    ]
    every = by_score(
        decides, np.array([verdicts.scores[key] for key in keys]), [verdicts.other_scores[key] for key in keys]
    )
    return areas(every, np.array([verdicts.truth[key].faulty for key in keys], np.bool_)) if len(every) > 1 else {}


class _Rules(Struct, frozen=True, kw_only=True):
    alpha: float
    threshold: float
    vus_buffer: int
    refractory_s: float


class _Baseline(Struct, frozen=True):
    """Results of the baseline on one file."""

    auroc: float | None = None
    vus_pr: float | None = None


def _judge(
    run: Run, refs: list[Ref], verdicts: LogVerdicts, rules: _Rules
) -> tuple[RunFigures, EventOutcomes, _Baseline]:
    """Return the results of one file, the outcome of each of its faults, and the results of the baseline."""
    assert run.faulty is not None
    spec = verdicts.windows.spec
    truth = {ref.key: verdicts.truth[ref.key] for ref in refs}
    ends_s = np.array([ref.time_s for ref in refs], np.float64)
    begin, end = rows_of(run, spec, ends_s)
    some = end > begin
    since_s, until_s = ends_s.copy(), ends_s.copy()
    since_s[some], until_s[some] = run.times_s[begin[some]], run.times_s[end[some] - 1]
    alarms = np.array([verdicts.status[key] == Status.REJECT for key in truth], np.bool_)
    faults = events_of(run)
    events = judge_events(
        until_s[alarms],
        np.array([(run.times_s[first], run.times_s[stop - 1]) for _, first, stop in faults]),
        refractory_s=rules.refractory_s,
        since_s=since_s[alarms],
        neither=np.array([not (window.good or window.faulty) for window in truth.values()], np.bool_)[alarms],
    )
    counts = count(truth, verdicts.status, alpha=rules.alpha, faults=[event for event, _, _ in faults])
    rows = _row_scores(len(run.times_s), begin, end, [verdicts.scores[key] for key in truth])
    ignored = np.isnan(rows) | (False if run.recovering is None else run.recovering & ~run.faulty)
    kept = run.faulty[~ignored]
    both = bool(kept.any() and not kept.all())
    figures = _figures(
        run.name,
        truth=truth,
        verdicts=verdicts,
        counts=counts,
        events=[events],
        points=point_counts(rows[~ignored] > rules.threshold, kept),
        good_s=counts.good * spec.hop * spec.period_s,
        volume=vus_pr(rows, run.faulty, rules.vus_buffer, ignored=ignored) if both else None,
    )
    means = [verdicts.window_means.get(key, np.nan) for key in truth]
    rows = _row_scores(len(run.times_s), begin, end, means)
    known = both and not np.isnan(rows[~ignored]).any()
    pairs = [
        (mean, window.faulty)
        for mean, window in zip(means, truth.values(), strict=True)
        if np.isfinite(mean) and (window.good or window.faulty)
    ]
    baseline = _Baseline(
        auroc=None if figures.auroc is None else _auroc(pairs),
        vus_pr=vus_pr(rows, run.faulty, rules.vus_buffer, ignored=ignored) if known else None,
    )
    return figures, events, baseline


def _auroc(pairs: list[tuple[float, bool]]) -> float | None:
    faulty = np.array([defective for _, defective in pairs], np.bool_)
    return ranking.auroc(np.array([mean for mean, _ in pairs]), faulty) if 0 < faulty.sum() < len(faulty) else None


def _figures(
    name: str,
    *,
    truth: dict[str, WindowTruth],
    verdicts: LogVerdicts,
    counts: Counts,
    events: list[EventOutcomes],
    points: PointCounts,
    good_s: float,
    volume: float | None,
) -> RunFigures:
    judged = [
        key
        for key, window in truth.items()
        if verdicts.status[key] != Status.INVALID and (window.good or window.faulty)
    ]
    values = np.array([verdicts.scores[key] for key in judged])
    faulty = np.array([truth[key].faulty for key in judged], np.bool_)
    both = bool(faulty.any() and not faulty.all())
    delays_s = np.concatenate([one.delay_s for one in events])
    false_events = sum(one.false_events for one in events)
    return RunFigures(
        name=name,
        counts=counts,
        auroc=ranking.auroc(values, faulty) if both else None,
        aupr=ranking.aupr(values, faulty) if both else None,
        vus_pr=volume,
        event_recall=counts.caught / counts.faults if counts.faults else None,
        false_events=false_events,
        false_events_a_day=false_events * SECONDS_A_DAY / good_s if good_s else None,
        good_s=good_s,
        median_delay_s=float(np.median(delays_s)) if len(delays_s) else None,
        points=points,
    )


def _row_scores(rows: int, begin: NDArray[np.intp], end: NDArray[np.intp], scores: list[float]) -> NDArray[np.float64]:
    """Return the mean score of the judged windows that contain each row; NaN for rows in no judged window."""
    sums, windows = np.zeros(rows), np.zeros(rows, np.int64)
    for first, stop, score in zip(begin.tolist(), end.tolist(), scores, strict=True):
        if np.isfinite(score):
            # add row by row instead of by running sums: one huge score must not cancel the scores of its neighbours
            sums[first:stop] += score
            windows[first:stop] += 1
    mean = np.full(rows, np.nan)
    np.divide(sums, windows, out=mean, where=windows > 0)
    return mean


def _intervals(runs: tuple[RunFigures, ...], events: list[EventOutcomes], seed: int) -> LogIntervals:
    draws = file_draws(len(runs), seed=seed)

    def mean(values: list[float | None]) -> Interval | None:
        return ratio_interval(draws, [value or 0.0 for value in values], [value is not None for value in values])

    def ratio(above: list[int], below: list[int] | list[float]) -> Interval | None:
        return ratio_interval(draws, above, below)

    counts = [run.counts for run in runs]
    caught, faults = [one.caught for one in counts], [one.faults for one in counts]
    recall = ratio(caught, faults)
    if recall is not None and not recall.low < recall.high:
        # all resamples are equal, for example if every fault was detected; that gives no information about the next fault
        recall = rate_interval(sum(caught), sum(faults))
    return LogIntervals(
        files=len(runs),
        level=LEVEL,
        resamples=RESAMPLES,
        seed=seed,
        mean_auroc=mean([run.auroc for run in runs]),
        mean_vus_pr=mean([run.vus_pr for run in runs]),
        event_recall=recall,
        false_events_a_day=ratio([run.false_events for run in runs], [run.good_s / SECONDS_A_DAY for run in runs]),
        median_delay_s=median_interval(draws, [one.delay_s for one in events]),
        false_reject_rate=ratio([one.false_rejects for one in counts], [one.good for one in counts]),
        miss_rate=ratio([one.misses for one in counts], [one.defective for one in counts]),
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
