"""The picture of the drift: the same bytes for the same data, and readable with missing days and many lines."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from andon.drawing.style import png_of, svg_of
from andon.evaluation.results.drift_picture import MOST_LINES, SHARES, DriftData, draw
from andon.evaluation.results.part_counts import Count, Group
from andon.evaluation.results.score_history import DayQuantiles
from andon.foundation.errors import DataError


def history(days: list[int], items: int = 100) -> DayQuantiles:
    quantiles = np.outer(1 + np.arange(len(days)) / 50, [0.1, 0.2, 0.3, 0.4, 0.7])
    assert len(SHARES) == quantiles.shape[1]
    return DayQuantiles(np.array(days, np.int64), np.full(len(days), items), quantiles)


def data(**changes: Any) -> DriftData:
    days = list(range(20_000, 20_030))
    rejects: dict[Group, Count] = {day: Count(100, day % 3, 0) for day in days}
    usual = DriftData(
        model="bottle",
        threshold=1.0,
        lines={"a": history(days), "b": history(days[:5] + days[20:])},
        rejects={**rejects, None: Count(5, 1, 0)},
        alpha=0.01,
        labelled=True,
    )
    return replace(usual, **changes)


def test_each_line_has_a_panel_with_the_threshold_and_the_last_panel_shows_the_rejects() -> None:
    figure = draw(data())

    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "line a: 3000 items",
        "line b: 1500 items",
        "rejected good parts by day",
    ]
    threshold = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert threshold[0].get_ydata() == pytest.approx([1.0, 1.0])
    assert figure.axes[2].get_title(loc="right") == "promise (dashed): at most 1 % of good parts in the long run"
    assert max(figure.axes[2].lines[0].get_ydata()) == pytest.approx(2.0)


def test_a_curve_is_interrupted_where_days_are_missing() -> None:
    median = draw(data()).axes[1].lines[0].get_ydata()

    assert np.isnan(median).sum() == 1


def test_of_many_lines_those_with_the_most_items_are_drawn_and_the_title_says_so() -> None:
    lines = {f"l{number}": history([1, 2, 3], items=10 + number) for number in range(MOST_LINES + 3)}

    figure = draw(data(lines=lines))

    assert len(figure.axes) == MOST_LINES + 1
    assert figure.axes[0].get_title(loc="left").startswith("line l3:")
    assert "(6 of 9 lines, those with the most items)" in figure.get_suptitle()


def test_items_without_a_line_a_promise_or_a_reject_can_be_drawn() -> None:
    figure = draw(data(lines={None: history([5])}, rejects={5: Count(10, 0, 0)}, alpha=None, labelled=False))

    assert [axes.get_title(loc="left") for axes in figure.axes] == ["100 items", "rejected all parts by day"]
    assert png_of(figure).startswith(b"\x89PNG")


def test_the_same_data_give_the_same_picture() -> None:
    first, second = draw(data()), draw(data())

    assert svg_of(first) == svg_of(second)
    assert b"threshold: above it, an item is rejected" in svg_of(first)


def test_days_that_no_calendar_has_are_left_out() -> None:
    figure = draw(data(lines={"a": history([5, 2_000_000_000])}, rejects={2_000_000_000: Count(1, 0, 0)}))

    assert png_of(figure).startswith(b"\x89PNG")


def test_without_any_time_there_is_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="expected items with the time of their capture, got none"):
        draw(data(lines={}))


@pytest.mark.parametrize("day", [-719_162, 2_932_896])
def test_a_date_that_databases_write_for_no_time_is_left_out(day: int) -> None:
    figure = draw(data(lines={"a": history(sorted([day, 5, 6]))}, rejects={day: Count(1, 0, 0), 5: Count(9, 0, 0)}))

    assert png_of(figure).startswith(b"\x89PNG")
    low, high = figure.axes[0].get_xlim()
    assert high - low < 10

    with pytest.raises(DataError, match="expected items with the time of their capture, got none"):
        draw(data(lines={"a": history([day])}))
