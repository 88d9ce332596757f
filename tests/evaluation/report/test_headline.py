"""The headline of a report: facts about the file, whether its promise was kept, and the colours."""

import re

import pytest
from scipy.stats import beta
from tests.runtime.hand_made import FRAME, GREY, model_bytes

from andon.cli.inspect import render
from andon.evaluation.report.headline import (
    ModelFacts,
    found_tone,
    model_facts,
    promise_lines,
    verdict_on,
)
from andon.runtime import Detector
from andon.runtime.model_file.format import parse
from andon.runtime.schema import FrameSpec

PROMISED = ModelFacts(name="a.onnx", data="parts", promise="at most 5 % of good parts", alpha=0.05)


@pytest.mark.parametrize("spec", [FRAME, GREY])
def test_the_report_and_inspect_name_sizes_in_the_same_order_and_say_which(spec: FrameSpec) -> None:
    data = model_bytes(spec, threshold=0.25)
    report = dict(model_facts(Detector.from_bytes(data), "a.onnx", "parts").rows)["judges"]
    (inspected,) = re.findall(r"^judges +(.+)$", render(parse(data)), re.MULTILINE)

    assert report == inspected
    assert "32 x 48" in report
    assert report.count("(height x width)") == 1


@pytest.mark.parametrize(("false_rejects", "n_good"), [(0, 20), (0, 58), (0, 59), (0, 60), (1, 60), (1, 93), (3, 400)])
def test_a_kept_promise_is_called_confirmed_only_where_the_parts_suffice(false_rejects: int, n_good: int) -> None:
    (line,) = promise_lines(PROMISED, false_rejects, n_good, within=True, units="parts")

    upper = float(beta.ppf(0.95, false_rejects + 1, n_good - false_rejects))
    wanted = (
        "These parts confirm the promise at 95 % confidence."
        if upper <= 0.05
        else "Consistent with the promise; too few parts to confirm it."
    )
    assert line.endswith(wanted)


def test_everything_found_is_not_green_where_the_promise_is_not_kept_or_there_is_none() -> None:
    assert found_tone("good", missed=0) == "good"
    assert found_tone("bad", missed=0) == "plain"
    assert found_tone("plain", missed=0) == "plain"
    assert {found_tone(tone, missed=1) for tone in ("good", "bad", "plain")} == {"bad"}


def test_rejecting_good_parts_as_often_as_defective_ones_is_bad_without_any_promise() -> None:
    tone, headline = verdict_on(None, 30, 30, None, "part", caught=16, n_defect=16)

    assert tone == "bad"
    assert headline == (
        "Good parts are rejected at least as often as defective ones: 30 of 30 good parts rejected (100.00%), "
        "16 of 16 defective ones (100.00%)."
    )
    assert verdict_on(None, 1, 30, None, "part", caught=16, n_defect=16)[0] == "plain"
    assert verdict_on(None, 0, 30, None, "part", caught=0, n_defect=16)[0] == "plain"  # nothing is rejected at all
    assert verdict_on(None, 30, 30, None, "part", caught=0, n_defect=0)[0] == "plain"
