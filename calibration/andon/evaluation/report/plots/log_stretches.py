"""Draw stretches of a log: truth, sensors, scores and channel shares over one time axis."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.drawing.labels import short
from andon.drawing.style import DEFECT, GOOD, INK, ORANGE, SOFT, new_figure, png_of, tidy
from andon.evaluation.logs import LogVerdicts
from andon.evaluation.report.page import Exhibit, ReportPicture
from andon.evaluation.report.stretches import EACH, Stretch, judged_windows, origin_s
from andon.foundation.printable import without_controls
from andon.foundation.progress import Progress, silent, track
from andon.runtime.detector import Detector
from andon.runtime.items import Ref
from andon.runtime.judge import judge_items
from andon.runtime.schema import Status, WindowSpec
from andon.sources.series.log import Run
from andon.sources.series.log_truth import events_of
from andon.sources.series.windows import columns

MOST_CHANNELS = 6
"""Upper limit of channels with their own panel."""
MOST_SHARES = 24
"""Upper limit of channels in the strip of shares."""
_POINTS = 3_000
"""Upper limit of points of a curve. Longer curves are drawn as the lowest and highest value of each block of rows."""

Floats = NDArray[np.float64]


def draw(
    detector: Detector, verdicts: LogVerdicts, stretches: Sequence[Stretch], *, progress: Progress = silent
) -> list[Exhibit]:
    """Draw each stretch. Judge its windows again to get channel shares and reconstructions."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    runs = {run.name: run for run in verdicts.log.runs}
    counts: dict[str, int] = {}
    made = []
    for stretch in track(list(stretches), progress, "drawing"):
        counts[stretch.name] = counts.get(stretch.name, 0) + 1
        run = runs[stretch.run]
        data = _look(detector, verdicts, spec, run, stretch)
        name = f"{stretch.name}-{counts[stretch.name]:02}"
        figure = _figure(data, spec, detector.threshold)
        picture = ReportPicture(
            name=f"{name}.png",
            png=png_of(figure),
            alt=f"{stretch.title} in {stretch.run}: sensors over time, the true faults shaded, scores with the threshold below.",
            shown="wide",
        )
        made.append(
            Exhibit(
                key=f"{stretch.title}, {stretch.run}",
                status=stretch.badge,
                tone=stretch.tone,
                facts=(*stretch.facts, *data.notes),
                pictures=(picture,),
            )
        )
    return made


def overview(verdicts: LogVerdicts, spec: WindowSpec, threshold: float, each: int = EACH) -> list[ReportPicture]:
    """Draw whole runs that are longer than 20 windows, runs with the most misses and false rejects first."""
    wrong: dict[str, int] = {}
    for one in judged_windows(verdicts):
        if one.status != Status.INVALID and (one.status == Status.REJECT) != one.defective:
            wrong[one.ref.group] = wrong.get(one.ref.group, 0) + 1
    long = [run for run in verdicts.log.runs if run.faulty is not None and len(run.times_s) > 20 * spec.steps]
    some = sorted(long, key=lambda run: (-wrong.get(run.name, 0), run.name))[:each]
    pictures = []
    for number, run in enumerate(some, 1):
        stretch = Stretch(title="", name="", tone="plain", badge="", run=run.name, begin=0, stop=len(run.times_s))
        data = _look(None, verdicts, spec, run, stretch)
        pictures.append(
            ReportPicture(
                name=f"run-{number:02}.png",
                png=png_of(_figure(data, spec, threshold)),
                alt=f"The whole run {run.name}: sensors, true faults, scores and alarms over time.",
                caption=f"The whole run {run.name}."
                + (
                    f" {len(some)} of {len(verdicts.log.runs)} runs are shown."
                    if len(some) < len(verdicts.log.runs)
                    else ""
                ),
                shown="wide",
            )
        )
    return pictures


def name_channel(axes: Any, spec: WindowSpec, place: int) -> None:
    """Write name and unit horizontally to the left of the panel, because a long name would not fit vertically."""
    channel = spec.channels[place]
    lines = textwrap.wrap(short(channel.name).replace("_", " "), 14) or [""]
    name = "\n".join([*lines, f"[{without_controls(channel.unit)}]"] if channel.unit else lines)
    axes.set_ylabel(name, parse_math=False, rotation=0, ha="right", va="center", size=9)


_LETTER = 0.0068
"""Width of a letter with its share of the margin, as a fraction of the panel width."""
_ROWS = 4
"""Number of rows of names above the strip of truth."""


class _StretchData(Struct, frozen=True, kw_only=True):
    """The data of one picture of a stretch."""

    times_s: Floats
    values: NDArray[np.float32]
    """``[n, C]`` in the order of the specification."""
    spans: list[tuple[float, float, str, Literal["fault", "recovery"]]]
    ends_s: Floats
    """``[W]``, the end times of the windows."""
    scores: Floats
    status: NDArray[np.uint8]
    good: NDArray[np.bool_]
    shares: NDArray[np.float32] | None = None
    """``[W, C]``, the share of each channel in the score; each row sums to 1."""
    rebuilt: tuple[Floats, NDArray[np.float32]] | None = None
    """Times ``[m]`` and reconstructed values ``[m, C]``."""
    channels: list[int]
    """Channels with a panel."""
    origin_s: float = 0.0
    notes: tuple[tuple[str, str], ...] = ()


def _look(
    detector: Detector | None, verdicts: LogVerdicts, spec: WindowSpec, run: Run, stretch: Stretch
) -> _StretchData:
    """Collect the data of a picture of a stretch. With a detector, judge its windows again to get their evidence."""
    rows = slice(stretch.begin, stretch.stop)
    times_s = run.times_s[rows]
    low_s, high_s = float(times_s[0]), float(times_s[-1])
    refs = [
        ref
        for ref in verdicts.windows.refs
        if ref.group == run.name
        and ref.key in verdicts.truth
        and ref.time_s is not None
        and low_s <= ref.time_s <= high_s + 0.5 * spec.period_s
    ]
    places = columns(verdicts.log.found, spec)
    shares, rebuilt = _evidence(detector, verdicts, spec, refs) if detector is not None else (None, None)
    order = list(range(len(places)))
    notes: tuple[tuple[str, str], ...] = ()
    if len(order) > MOST_CHANNELS:
        weight = (
            np.nansum(shares, axis=0)
            if shares is not None and len(shares)
            else -np.arange(len(places), dtype=np.float32)
        )
        order = sorted(np.argsort(-weight, kind="stable")[:MOST_CHANNELS].tolist())
        notes = (
            (
                "channels",
                f"{MOST_CHANNELS} of {len(places)}" + (", those with the largest shares" if shares is not None else ""),
            ),
        )
    return _StretchData(
        times_s=times_s,
        values=run.values[rows][:, places],
        spans=_spans(run, rows, spec.period_s),
        ends_s=np.array([ref.time_s for ref in refs], np.float64),
        scores=np.array([verdicts.scores[ref.key] for ref in refs], np.float64),
        status=np.array([verdicts.status[ref.key] for ref in refs], np.uint8),
        good=np.array([verdicts.truth[ref.key].good for ref in refs], np.bool_),
        shares=shares,
        rebuilt=rebuilt,
        channels=order,
        origin_s=origin_s(run),
        notes=notes,
    )


def _evidence(
    detector: Detector, verdicts: LogVerdicts, spec: WindowSpec, refs: Sequence[Ref]
) -> tuple[NDArray[np.float32] | None, tuple[Floats, NDArray[np.float32]] | None]:
    shares = np.full((len(refs), len(spec.channels)), np.nan, np.float32)
    times: list[Floats] = []
    pieces: list[NDArray[np.float32]] = []
    # if windows overlap, each adds only the rows that no earlier window covers
    covered_s = -math.inf
    for at, one in enumerate(judge_items(detector, map(verdicts.windows.read, refs))):
        time_s, evidence = one.ref.time_s, one.verdict.evidence
        if one.data is None or time_s is None:
            continue
        parts = evidence.get("channel_scores")
        if parts is not None and parts.shape == (len(spec.channels),) and float(np.abs(parts).sum()) > 0:
            shares[at] = np.abs(parts) / np.abs(parts).sum()
        image = evidence.get("reconstruction")
        if image is not None and image.shape == one.data.shape:
            grid = time_s - np.arange(spec.steps - 1, -1, -1) * spec.period_s
            new = grid > covered_s + 0.5 * spec.period_s
            if times and grid[new].size and grid[new][0] > times[-1][-1] + 1.5 * spec.period_s:
                times.append(np.array([grid[new][0]]))  # a break in the curve where windows are missing
                pieces.append(np.full((1, image.shape[1]), np.nan, np.float32))
            times.append(np.asarray(grid[new], np.float64))
            pieces.append(np.asarray(image, np.float32)[new])
            covered_s = time_s
    whole = (np.concatenate(times), np.concatenate(pieces)) if times else None
    return (shares if np.isfinite(shares).any() else None), whole


def _spans(run: Run, rows: slice, period_s: float) -> list[tuple[float, float, str, Literal["fault", "recovery"]]]:
    spans: list[tuple[float, float, str, Literal["fault", "recovery"]]] = []
    for _, first, stop in events_of(run):
        begin, end = max(first, rows.start), min(stop, rows.stop)
        if begin < end:
            name = str(run.fault[first]) if run.fault is not None else ""
            spans.append((float(run.times_s[begin]), float(run.times_s[end - 1]) + period_s, name or "fault", "fault"))
    if run.recovering is not None:
        padded = np.concatenate([[False], run.recovering[rows], [False]])
        for begin, end in zip(
            np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(padded[:-1] & ~padded[1:]), strict=True
        ):
            times = run.times_s[rows]
            spans.append((float(times[begin]), float(times[end - 1]) + period_s, "recovery", "recovery"))
    return spans


def _figure(data: _StretchData, spec: WindowSpec, threshold: float) -> Any:
    """Draw truth, sensors, scores and shares over one time axis."""
    lines = min(len(spec.channels), MOST_SHARES)
    shares = [0.3 + 0.16 * lines] if data.shares is not None else []
    heights = [0.3, *[1.25] * len(data.channels), 1.7, *shares]
    figure = new_figure(11.6, sum(heights) + 0.9)
    grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    begin_s, end_s = float(data.times_s[0]), float(data.times_s[-1]) + spec.period_s
    offset = data.origin_s
    grid[0].set_xlim(begin_s - offset, end_s - offset)
    _truth_panel(grid[0], data, offset)
    for place, axes in zip(data.channels, grid[1:], strict=False):
        tidy(axes)
        _shade(axes, data, offset)
        axes.plot(*_thinned(data.times_s - offset, data.values[:, place]), color=GOOD, lw=1.1, label="measured")
        if data.rebuilt is not None:
            times, values = data.rebuilt
            axes.plot(times - offset, values[:, place], color=DEFECT, lw=1.1, ls="--", label="reconstructed")
        name_channel(axes, spec, place)
    if data.rebuilt is not None:
        figure.legend(
            *grid[1].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, borderaxespad=0.1
        )
    _score_panel(grid[1 + len(data.channels)], data, threshold, offset)
    if data.shares is not None:
        _share_panel(figure, grid[-1], data, spec, offset)
    grid[-1].set_xlabel("time [s]" + (", from the start of the run" if offset else ""))
    return figure


def _truth_panel(axes: Any, data: _StretchData, offset: float) -> None:
    """Draw a strip with the names of the faults: inside it, or above it for short faults if there is room."""
    axes.set_axis_off()
    _shade(axes, data, offset, strength=2.2)
    low, high = axes.get_xlim()
    narrow: list[tuple[float, str]] = []
    for begin, end, name, kind in data.spans:
        label = short(name).replace("_", " ")
        if (end - begin) / (high - low) <= _LETTER * len(label):
            if kind == "fault":  # no name for recovery: it follows its fault and is grey
                narrow.append((((begin + end) / 2 - offset - low) / (high - low), label))
        else:
            axes.text((begin + end) / 2 - offset, 0.5, label, ha="center", va="center", size=9, color=INK, parse_math=False,
                      transform=axes.get_xaxis_transform())  # fmt: skip
    for place, middle, label, row in above(narrow):
        height = 1.12 + 0.55 * row
        if row:
            axes.plot(
                [place, middle], [1.0, height], color=SOFT, lw=0.7, zorder=1, clip_on=False, transform=axes.transAxes
            )
        axes.text(middle, height, label, ha="center", va="bottom", size=9, color=INK, parse_math=False, zorder=3,
                  transform=axes.transAxes, bbox={"fc": "white", "ec": "none", "pad": 0.6})  # fmt: skip
    axes.text(-0.008, 0.5, "truth", ha="right", va="center", size=10, transform=axes.transAxes)


def above(narrow: Sequence[tuple[float, str]]) -> list[tuple[float, float, str, int]]:
    """Place the names of short faults above the strip: return place of the fault, middle of the name, name, and row.

    Row 0 is the lowest. A name that overlaps other names in all `_ROWS` rows is left out.

    Args:
        narrow: place (0 .. 1 of the strip's length) and name of each fault.
    """
    ends = [-1.0] * _ROWS
    placed = []
    for place, label in sorted(narrow):
        half = _LETTER * len(label) / 2
        middle = min(max(place, half), 1.0 - half)
        row = next((row for row, end in enumerate(ends) if middle - half >= end), None)
        if row is not None:
            ends[row] = middle + half
            placed.append((place, middle, label, row))
    return placed


def _shade(axes: Any, data: _StretchData, offset: float, strength: float = 1.0) -> None:
    for what, colour, alpha in (("fault", ORANGE, 0.28), ("recovery", "#BBBBBB", 0.2)):
        bars = [(begin - offset, end - begin) for begin, end, _, kind in data.spans if kind == what]
        if bars:
            # one collection for all bars, because a log may hold thousands of faults
            axes.broken_barh(
                bars, (0, 1), fc=colour, alpha=alpha * strength, lw=0, transform=axes.get_xaxis_transform()
            )


def _score_panel(axes: Any, data: _StretchData, threshold: float, offset: float) -> None:
    tidy(axes)
    _shade(axes, data, offset)
    valid = data.status != Status.INVALID
    rejected = data.status == Status.REJECT
    time = data.ends_s - offset
    axes.plot(
        time[valid],
        data.scores[valid],
        color=INK,
        lw=0.9,
        marker=".",
        ms=4 if len(time) < 400 else 0,
        label="score, at the window's end",
    )
    if math.isfinite(threshold):
        axes.axhline(threshold, color=INK, ls="--", lw=1.2, label=f"threshold {threshold:.4g}")
    true, false = rejected & ~data.good, rejected & data.good
    if true.any():
        axes.plot(time[true], data.scores[true], "^", color=DEFECT, ms=6, label="alarm")
    if false.any():
        axes.plot(time[false], data.scores[false], "D", mfc="white", mec="#CC0077", mew=1.8, ms=6, label="false reject")
    if (~valid).any():
        axes.plot(
            time[~valid],
            np.full(int((~valid).sum()), 0.04),
            "x",
            color=SOFT,
            ms=5,
            transform=axes.get_xaxis_transform(),
            label="INVALID",
        )
    positive = data.scores[valid & (data.scores > 0)]
    if len(positive) and positive.max() > 8 * max(threshold, 1e-30) > 0 and (data.scores[valid] > 0).all():
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("score", rotation=0, ha="right", va="center", size=9)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=8.5, borderaxespad=0.1)


def _share_panel(figure: Any, axes: Any, data: _StretchData, spec: WindowSpec, offset: float) -> None:
    assert data.shares is not None
    order = np.arange(len(spec.channels))
    if len(order) > MOST_SHARES:
        order = np.sort(np.argsort(-np.nansum(data.shares, axis=0), kind="stable")[:MOST_SHARES])
    length_s = spec.hop * spec.period_s
    edges: list[float] = []
    cells: list[NDArray[np.float32]] = []
    for end_s, shares in zip((data.ends_s - offset).tolist(), data.shares[:, order], strict=True):
        begin_s = max(end_s - length_s, edges[-1] if edges else -math.inf)
        if not edges:
            edges.append(begin_s)
        elif begin_s > edges[-1] + 0.5 * spec.period_s:
            edges.append(begin_s)
            cells.append(np.full(len(order), np.nan, np.float32))
        edges.append(max(end_s, edges[-1]))
        cells.append(shares)
    mesh = axes.pcolormesh(
        edges, np.arange(len(order) + 1) - 0.5, np.ma.masked_invalid(np.array(cells).T), cmap="cividis", vmin=0, vmax=1
    )
    axes.set_yticks(
        range(len(order)),
        [short(spec.channels[place].name) for place in order.tolist()],
        parse_math=False,
        size=8.5 if len(order) <= 12 else 6,
    )
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(mesh, ax=axes, pad=0.008, aspect=8, ticks=[0, 0.5, 1])
    bar.set_label("share of\nthe score", size=8.5)


def _thinned(times: Floats, values: NDArray[np.float32]) -> tuple[Floats, NDArray[np.float32]]:
    """Keep the lowest and the highest value of each block of rows, so that spikes stay visible."""
    block = -(-len(times) // (_POINTS // 2))
    if block <= 2:
        return times, values
    missing = -len(values) % block  # pad the last block with NaN, which is ignored
    blocks = np.pad(values, (0, missing), constant_values=np.nan).reshape(-1, block)
    filled = np.where(np.isfinite(blocks), blocks, np.nan)
    empty: NDArray[np.bool_] = np.logical_and.reduce(np.isnan(filled), axis=1)
    low = np.where(empty, np.nan, np.nanmin(np.where(empty[:, None], 0, filled), axis=1))
    high = np.where(empty, np.nan, np.nanmax(np.where(empty[:, None], 0, filled), axis=1))
    return np.repeat(times[::block], 2), np.stack([low, high], axis=1).ravel().astype(np.float32)
