"""Draw how the scores of each line move over days and months, with the threshold, and the share of rejected parts below.

A line that drifts towards the threshold shows it here before good parts are rejected. Scores are quantiles of a day: half of the
items are below the middle curve, and 98 of 100 lie within the outer band.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.drawing.labels import short
from andon.drawing.style import BLUE, INK, SKY, SOFT, VERMILION, new_figure, tidy
from andon.evaluation.results.part_counts import Count, Group
from andon.evaluation.results.score_history import DayQuantiles
from andon.foundation.errors import DataError
from andon.runtime.calibration_facts import percent

SHARES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Quantiles that `draw` needs, in this order."""
MOST_LINES = 6
"""Upper limit of lines with a panel of their own: those with the most items."""

_EPOCH = date(1970, 1, 1)
_FIRST, _LAST = (date(1900, 1, 1) - _EPOCH).days, (date(2199, 12, 31) - _EPOCH).days
"""Days that are drawn. Databases write 0001-01-01 or 9999-12-31 where there is no time."""
_LONGEST_GAP = 7
"""Number of days without items after which a curve is interrupted."""


class DriftData(Struct, frozen=True, kw_only=True):
    """The content of the picture."""

    model: str
    threshold: float
    lines: Mapping[str | None, DayQuantiles]
    """Quantiles of `SHARES`, for each line."""
    rejects: Mapping[Group, Count]
    """Number of parts by day."""
    alpha: float | None
    """Promised share of rejects among good parts. None if there is no promise."""
    labelled: bool
    """True if only parts count that are confirmed as good."""


def draw(data: DriftData) -> Any:
    """Return the figure.

    Raises:
        DataError: no item has a time.
    """
    lines = {name: history for name, history in data.lines.items() if _usable(history.days).any()}
    if not lines:
        raise DataError(
            "the picture of the drift: expected items with the time of their capture, got none. Score the items again with "
            "captured_at in the input."
        )
    most = sorted(lines, key=lambda name: (-int(lines[name].items.sum()), name or ""))[:MOST_LINES]
    drawn = [name for name in lines if name in most]
    figure = new_figure(10.0, 2.6 * len(drawn) + 2.6)
    heights = [*[1.0] * len(drawn), 0.62]
    panels = figure.subplots(len(drawn) + 1, 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[
        :, 0
    ]
    for axes, name in zip(panels, drawn, strict=False):
        _draw_line(axes, lines[name], data.threshold, _title(name, lines[name], len(lines)))
    _draw_rejects(panels[-1], data)
    kept = "good parts" if data.labelled else "all parts"
    fewer = f" ({len(drawn)} of {len(lines)} lines, those with the most items)" if len(drawn) < len(lines) else ""
    figure.suptitle(f"Scores of {kept} by day, model {short(data.model)}{fewer}", size=12, parse_math=False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_line(axes: Any, history: DayQuantiles, threshold: float, title: str) -> None:
    tidy(axes)
    days, quantiles = _with_gaps(history.days, history.quantiles)
    low, quarter, median, three_quarters, high = quantiles.T
    axes.fill_between(days, low, high, color=SKY, alpha=0.30, lw=0, label="98 of 100 items")
    axes.fill_between(days, quarter, three_quarters, color=SKY, alpha=0.75, lw=0, label="half of the items")
    axes.plot(days, median, color=BLUE, lw=1.8, label="median")
    # a day between two gaps has no area and no curve
    axes.plot(days, median, ".", color=BLUE, ms=3)
    axes.axhline(threshold, color=VERMILION, lw=1.6, ls="--", label="threshold: above it, an item is rejected")
    axes.set_ylabel("score")
    axes.set_title(title, size=10, loc="left", color=INK, parse_math=False)
    shown = [*history.quantiles.ravel().tolist(), threshold]
    bottom, top = min(shown), max(shown)
    margin = 0.06 * (top - bottom or abs(top) or 1.0)
    axes.set_ylim(bottom - margin, top + margin)


def _draw_rejects(axes: Any, data: DriftData) -> None:
    tidy(axes)
    by_day = {day: count for day, count in data.rejects.items() if isinstance(day, int) and count.parts}
    days = np.array(sorted(by_day), np.int64)
    shares = np.array([[100 * by_day[int(day)].rejects / by_day[int(day)].parts] for day in days])
    dates, curve = _with_gaps(days, shares.reshape(-1, 1))
    axes.plot(dates, curve[:, 0], ".-", color=INK, lw=1.0, ms=3)
    what = "good parts" if data.labelled else "all parts"
    axes.set_title(f"rejected {what} by day", size=10, loc="left", color=INK)
    axes.set_ylabel("rejected [%]")
    top = float(shares.max()) if len(shares) else 0.0
    if data.alpha is not None:
        axes.axhline(100 * data.alpha, color=VERMILION, lw=1.6, ls="--")
        promise = f"promise (dashed): at most {percent(data.alpha)} of good parts in the long run"
        axes.set_title(promise, size=10, loc="right", color=VERMILION)
        top = max(top, 130 * data.alpha)
    axes.set_ylim(0, 1.15 * top or 1.0)
    axes.set_xlabel("day (UTC)", color=SOFT)


def _title(name: str | None, history: DayQuantiles, lines: int) -> str:
    items = f"{int(history.items.sum())} items"
    if name is None:
        return f"items without a line: {items}" if lines > 1 else items
    return f"line {short(name)}: {items}"


def _with_gaps(days: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return dates and values, with NaN where no items follow for more than `_LONGEST_GAP` days."""
    usable = _usable(days)
    days, values = days[usable], values[usable]
    after = np.flatnonzero(np.diff(days) > _LONGEST_GAP) + 1
    days = np.insert(days, after, days[after - 1] + 1)
    values = np.insert(values, after, np.nan, axis=0)
    return np.array([_EPOCH + timedelta(days=int(day)) for day in days], dtype="datetime64[D]"), values


def _usable(days: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (days >= _FIRST) & (days <= _LAST)
