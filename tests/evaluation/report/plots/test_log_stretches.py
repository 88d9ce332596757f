"""Drawings of stretches of a log."""

import numpy as np
import pytest
from tests.evaluation.watched import WATCHED, judged, run
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.evaluation.logs import judge_logs
from andon.evaluation.report import stretches
from andon.evaluation.report.plots import log_stretches
from andon.runtime import Detector, Status
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run

PNG = b"\x89PNG\r\n\x1a\n"


def test_stretches_and_runs_are_drawn_with_what_the_file_rebuilt() -> None:
    verdicts = judged(
        run(
            "a", [1, 1, 1, 3, 5, 1, 1, float("nan"), 1, 1] * 3, faults=("....p.....") * 3, recovering=("......x...") * 3
        ),
        run("b", [1.0] * 30, start_s=1.7e9),
    )

    made = log_stretches.draw(WATCHED, verdicts, stretches.choose(verdicts, WINDOW, each=1))

    assert [picture.name for exhibit in made for picture in exhibit.pictures] == [
        "false-reject-01.png",
        "weakest-01.png",
    ]
    assert all(picture.png.startswith(PNG) for exhibit in made for picture in exhibit.pictures)
    assert [picture.name for picture in log_stretches.overview(verdicts, WINDOW, 4.0)] == [
        "run-01.png",
        "run-02.png",
    ]


def test_reconstructions_of_windows_are_joined_and_broken_where_windows_are_missing() -> None:
    verdicts = judged(run("a", [1, 1, float("nan"), 1, 1]))
    refs = [ref for ref in verdicts.windows.refs if verdicts.status[ref.key] != Status.INVALID]

    shares, rebuilt = log_stretches._evidence(WATCHED, verdicts, WINDOW, refs)

    assert shares is not None
    assert shares.sum(axis=1).tolist() == [1.0] * len(refs)
    assert rebuilt is not None
    times, values = rebuilt
    assert (np.diff(times) >= 0).all()
    gaps = np.isnan(values).any(axis=1)
    assert gaps.sum() == 1
    assert (values[~gaps] == 0.5).all()


def test_of_many_channels_those_that_add_most_have_a_panel() -> None:
    spec = WindowSpec(steps=4, hop=4, period_s=0.5, channels=tuple(Channel(name=f"c{place}") for place in range(30)))
    detector = Detector.from_bytes(model_bytes(spec, threshold=4.0))
    values = np.full((80, 30), 0.1, np.float32)
    values[:, [3, 17]] = 3.0
    one = Run(name="a", times_s=np.arange(80, dtype=np.float64) / 2, values=values, faulty=np.zeros(80, np.bool_))
    found = FoundLogs(channels=spec.channels, period_s=0.5, runs=1, rows=80)
    verdicts = judge_logs(detector, Log(found=found, runs=(one,)))
    stretch = stretches.choose(verdicts, spec)[0]

    seen = log_stretches._look(detector, verdicts, spec, one, stretch)
    (made,) = log_stretches.draw(detector, verdicts, [stretch])

    assert {3, 17} <= set(seen.channels)
    assert len(seen.channels) == log_stretches.MOST_CHANNELS
    assert ("channels", "6 of 30, those with the largest shares") in made.facts


def test_thinned_curves_keep_their_spikes_and_their_holes() -> None:
    values = np.zeros(50_000, np.float32)
    values[31_234], values[17] = 9.0, -4.0
    values[40_000:41_000] = np.nan

    times, thin = log_stretches._thinned(np.arange(50_000, dtype=np.float64), values)

    assert len(thin) < 4_000
    assert (float(np.nanmax(thin)), float(np.nanmin(thin))) == (9.0, -4.0)
    assert abs(times[np.nanargmax(thin)] - 31_234) < 50
    assert np.isnan(thin[(times > 40_100) & (times < 40_900)]).all()


@pytest.mark.parametrize("rows", [50_000, 50_001, 50_024, 6_001])
@pytest.mark.parametrize("back", [1, 2, 20])
def test_a_spike_in_the_last_rows_is_drawn(rows: int, back: int) -> None:
    values = np.zeros(rows, np.float32)
    values[-back] = 9.0

    times, thin = log_stretches._thinned(np.arange(rows, dtype=np.float64), values)

    assert float(np.nanmax(thin)) == 9.0
    assert rows - 60 < times[np.nanargmax(thin)] < rows
    assert (np.diff(times) >= 0).all()


def test_names_of_short_faults_stand_above_the_strip_and_never_over_each_other() -> None:
    assert log_stretches.above([(0.5, "spike")]) == [(0.5, 0.5, "spike", 0)]
    assert log_stretches.above([(0.0, "spike")])[0][1] > 0  # moved in from the edge

    crowd = [(0.001 * place, "temperature drift") for place in range(1000)]
    placed = log_stretches.above(crowd)

    assert {row for *_, row in placed} == set(range(4))
    for row in range(4):
        middles = [middle for _, middle, _, at in placed if at == row]
        assert (np.diff(middles) > 0.0068 * len("temperature drift") - 1e-9).all()
    assert all(abs(place - middle) < 0.07 for place, middle, *_ in placed)
