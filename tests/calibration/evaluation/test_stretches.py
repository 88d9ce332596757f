"""Which stretches of a log are shown; faults and their delays."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.calibration.evaluation import stretches
from andon.calibration.evaluation.logs import LogVerdicts, judge_logs
from andon.runtime import Detector, Status, Verdict
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.items import FoundLogs
from andon.sources.log import Log, Run

PNG = b"\x89PNG\r\n\x1a\n"


class Rebuilding(Detector):
    """The hand-made detector of windows, whose file gives a reconstruction too: everything at 0.5."""

    def __call__(self, item: NDArray[np.float32]) -> Verdict:
        verdict = super().__call__(item)
        return msgspec.structs.replace(
            verdict, evidence={**verdict.evidence, "reconstruction": np.full_like(item, 0.5)}
        )


WATCHED = Rebuilding.from_bytes(model_bytes(WINDOW, threshold=4.0))
"""A window of four rows, 2 s long, scores the mean of its squares."""


def run(name: str, levels: list[float], faults: str = "", recovering: str = "", start_s: float = 0.0) -> Run:
    """Four rows a window; `faults` has the letter of a fault for each, or a dot."""
    count = len(levels)
    letters = np.repeat(list(faults.ljust(count, ".")), 4)
    return Run(
        name=name,
        times_s=start_s + np.arange(4 * count, dtype=np.float64) * 0.5,
        values=np.repeat(np.array(levels, np.float32), 8).reshape(-1, 2),
        faulty=letters != ".",
        recovering=np.repeat([mark == "x" for mark in recovering.ljust(count, ".")], 4),
        fault=np.where(letters == ".", "", letters).astype(np.str_),
    )


def judged(*runs: Run) -> LogVerdicts:
    found = FoundLogs(channels=WINDOW.channels, period_s=0.5, runs=len(runs), rows=sum(len(r.times_s) for r in runs))
    return judge_logs(WATCHED, Log(found=found, runs=runs))


def test_a_delay_runs_from_the_first_faulty_row_to_the_end_of_the_first_reject() -> None:
    #                         0  1  2  3  4  5  6  7
    verdicts = judged(run("a", [1, 1, 1, 5, 1, 1, 1, 1], faults="..pp..q."))

    caught, missed = stretches.faults(verdicts)

    # fault p begins at row 8, 4 s; its second window ends at row 15, 7.5 s
    assert (caught.kind, caught.onset_s, caught.end_s, caught.delay_s, caught.highest) == ("p", 4.0, 7.5, 3.5, 25.0)
    assert (missed.kind, missed.delay_s, missed.highest) == ("q", None, 1.0)


def test_windows_in_recovery_are_neither_good_nor_defective() -> None:
    verdicts = judged(run("a", [1, 5, 5, 1], faults=".p..", recovering="..x."))

    kinds = [(one.kind, one.defective) for one in stretches.judged_windows(verdicts)]

    assert kinds == [("good", False), ("p", True), ("good", False)]


def test_the_worst_false_rejects_the_misses_and_one_fault_of_each_kind_are_chosen() -> None:
    quiet = [1.0] * 40
    first = quiet.copy()
    first[10], first[30] = 3.0, 4.0  # two false rejects
    second = quiet.copy()
    second[5:7], second[20:22] = [5.0, 5.0], [6.0, 6.0]
    faults = "." * 5 + "pp" + "." * 13 + "pp" + "." * 8 + "qq"
    verdicts = judged(run("a", first), run("b", second, faults=faults))

    chosen = stretches.choose(verdicts, WINDOW)

    assert [(one.name, one.run) for one in chosen] == [
        ("false-reject", "a"),
        ("false-reject", "a"),
        ("miss", "b"),
        ("fault", "b"),
    ]
    assert [one.facts[0] for one in chosen[:2]] == [("score", "16"), ("score", "9")]
    assert chosen[2].title == "Missed fault: q"
    onsets = [dict(one.facts).get("begins at") for one in chosen]
    assert onsets[2:] == ["60 s", "10 s"]
    for one in chosen:
        assert 0 <= one.begin < one.stop <= 160


def test_rejects_side_by_side_are_one_stretch() -> None:
    levels = [1.0] * 60
    levels[10:13], levels[50] = [3.0, 3.5, 3.2], 3.1

    chosen = stretches.choose(judged(run("a", levels)), WINDOW)

    assert [dict(one.facts)["ends at"] for one in chosen] == ["23.5 s", "101.5 s"]


def test_without_any_wrong_verdict_what_came_nearest_is_shown() -> None:
    chosen = stretches.choose(judged(run("a", [1, 1.5, 1, 1, 3, 1, 5, 1], faults="....p.q.")), WINDOW)

    assert [(one.name, one.tone) for one in chosen] == [("good", "good"), ("weakest", "good"), ("fault", "good")]
    assert chosen[1].title.endswith(": p")


def test_a_long_fault_is_shown_from_its_begin_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "MOST_ROWS", 100)

    chosen = stretches.choose(
        judged(run("a", [1.0] * 20 + [1.1] * 200 + [1.0] * 5, faults="." * 20 + "p" * 200)), WINDOW
    )

    missed = next(one for one in chosen if one.name == "miss")
    assert missed.begin < 80 < missed.stop
    assert missed.stop - missed.begin == 100


def test_stretches_and_runs_are_drawn_with_what_the_file_rebuilt() -> None:
    verdicts = judged(
        run(
            "a", [1, 1, 1, 3, 5, 1, 1, float("nan"), 1, 1] * 3, faults=("....p.....") * 3, recovering=("......x...") * 3
        ),
        run("b", [1.0] * 30, start_s=1.7e9),
    )

    made = stretches.draw(WATCHED, verdicts, stretches.choose(verdicts, WINDOW, each=1))
    examples = stretches.examples(WATCHED, verdicts)

    assert [picture.name for exhibit in made for picture in exhibit.pictures] == [
        "false-reject-01.png",
        "weakest-01.png",
    ]
    assert all(picture.png.startswith(PNG) for exhibit in made for picture in exhibit.pictures)
    assert examples is not None
    assert "good (score 1), p (score 25)" in examples.alt
    assert [picture.name for picture in stretches.overview(verdicts, WINDOW, 4.0)] == ["run-01.png", "run-02.png"]


def test_reconstructions_of_windows_are_joined_and_broken_where_windows_are_missing() -> None:
    verdicts = judged(run("a", [1, 1, float("nan"), 1, 1]))
    refs = [ref for ref in verdicts.windows.refs if verdicts.status[ref.key] != Status.INVALID]

    shares, rebuilt = stretches._evidence(WATCHED, verdicts, WINDOW, refs)

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

    seen = stretches._look(detector, verdicts, spec, one, stretch)
    (made,) = stretches.draw(detector, verdicts, [stretch])

    assert {3, 17} <= set(seen.channels)
    assert len(seen.channels) == stretches.MOST_CHANNELS
    assert ("channels", "6 of 30, those that add most") in made.facts


def test_thinned_curves_keep_their_spikes_and_their_holes() -> None:
    values = np.zeros(50_000, np.float32)
    values[31_234], values[17] = 9.0, -4.0
    values[40_000:41_000] = np.nan

    times, thin = stretches._thinned(np.arange(50_000, dtype=np.float64), values)

    assert len(thin) < 4_000
    assert (float(np.nanmax(thin)), float(np.nanmin(thin))) == (9.0, -4.0)
    assert abs(times[np.nanargmax(thin)] - 31_234) < 50
    assert np.isnan(thin[(times > 40_100) & (times < 40_900)]).all()
