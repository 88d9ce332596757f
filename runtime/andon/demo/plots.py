"""Pictures of the demo: the stream with its scores, and details of one fault of each type."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from andon.drawing.style import BLUE, ORANGE, VERMILION, new_figure
from andon.monitor.judging import Outcome
from andon.runtime.schema import Status
from andon.sources.series.log import Log, Run
from andon.sources.series.log_truth import events_of
from andon.training.observers.curves import save

_FAULT, _RECOVERY, _REJECT, _LINE = ORANGE, "#f0e0b8", VERMILION, BLUE


def draw_stream(path: Path, log: Log, outcomes: Sequence[Outcome], threshold: float) -> None:
    """Draw channels and score over the whole stream, with faults and their recovery shaded."""
    run = log.runs[0]
    minutes = run.times_s / 60
    count = len(log.found.channels)
    figure = new_figure(12, 2.0 * (count + 1))
    axes = figure.subplots(count + 1, 1, sharex=True)
    thin = slice(None, None, max(1, len(minutes) // 6000))
    for place, channel in enumerate(log.found.channels):
        axes[place].plot(minutes[thin], run.values[thin, place], color="#444444", linewidth=0.5)
        axes[place].set_ylabel(f"{channel.name}\n[{channel.unit}]")
        _shade(axes[place], run)
    _scores(axes[-1], outcomes, threshold)
    _shade(axes[-1], run)
    axes[-1].set_xlabel("simulated minutes")
    axes[0].set_title("Monitored stream: faults in orange, recovery times in light orange")
    save(figure, path)


def draw_faults(path: Path, log: Log, outcomes: Sequence[Outcome], threshold: float) -> None:
    """Draw the first fault of each type, with half a minute before and after it."""
    run = log.runs[0]
    names = run.fault if run.fault is not None else np.full(len(run.times_s), "")
    first: dict[str, tuple[int, int]] = {}
    for _, begin, end in events_of(run):
        first.setdefault(str(names[begin]), (begin, end))
    count = len(log.found.channels)
    figure = new_figure(4.4 * len(first), 2.0 * (count + 1))
    axes = figure.subplots(count + 1, len(first), sharex="col", squeeze=False)
    for column, (name, (begin, end)) in enumerate(first.items()):
        margin = 300
        rows = slice(max(0, begin - margin), min(len(run.times_s), end + margin))
        seconds = run.times_s[rows] - run.times_s[begin]
        for place, channel in enumerate(log.found.channels):
            axes[place, column].plot(seconds, run.values[rows, place], color="#444444", linewidth=0.7)
            axes[place, column].axvspan(
                0, run.times_s[end - 1] - run.times_s[begin], color=_FAULT, alpha=0.25, linewidth=0
            )
            if column == 0:
                axes[place, 0].set_ylabel(f"{channel.name}\n[{channel.unit}]")
        low, high = run.times_s[rows][0], run.times_s[rows][-1]
        near = [outcome for outcome in outcomes if low <= (outcome.ref.time_s or 0.0) <= high]
        _scores(axes[-1, column], near, threshold, origin_s=float(run.times_s[begin]), unit_s=1.0, legend=column == 0)
        axes[-1, column].axvspan(0, run.times_s[end - 1] - run.times_s[begin], color=_FAULT, alpha=0.25, linewidth=0)
        axes[-1, column].set_xlabel("seconds from the onset")
        axes[0, column].set_title(name.replace("_", " "))
        if column:
            axes[-1, column].set_ylabel("")
    save(figure, path)


def _scores(  # type: ignore[no-untyped-def]
    axis,
    outcomes: Sequence[Outcome],
    threshold: float,
    *,
    origin_s: float = 0.0,
    unit_s: float = 60.0,
    legend: bool = True,
) -> None:
    times = np.array([((outcome.ref.time_s or 0.0) - origin_s) / unit_s for outcome in outcomes])
    scores = np.array([outcome.verdict.score for outcome in outcomes])
    rejected = np.array([outcome.verdict.status is Status.REJECT for outcome in outcomes], np.bool_)
    axis.plot(times[~rejected], scores[~rejected], ".", color=_LINE, markersize=3, label="OK")
    axis.plot(times[rejected], scores[rejected], "^", color=_REJECT, markersize=4, label="REJECT")
    axis.axhline(threshold, color="black", linewidth=0.8, linestyle="--", label="threshold")
    axis.set_yscale("log")
    axis.set_ylabel("score\n(log)")
    if legend:
        # above the axes: inside, it would hide scores
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, fontsize="small", frameon=False, borderpad=0.1)


def _shade(axis, run: Run) -> None:  # type: ignore[no-untyped-def]
    for rows, colour, alpha in ((run.recovering, _RECOVERY, 0.8), (run.faulty, _FAULT, 0.45)):
        if rows is None:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[0], rows.astype(np.int8), [0]])))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            axis.axvspan(
                run.times_s[begin] / 60, run.times_s[end - 1] / 60, color=colour, alpha=alpha, linewidth=0, zorder=0
            )
