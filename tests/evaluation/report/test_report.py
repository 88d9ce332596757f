"""The report as a reader opens it, for each kind of data."""

import math
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from tests.calibration.parts import Parts
from tests.evaluation.pages import Read
from tests.evaluation.watched import WATCHED, judged, run
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.evaluation.figures.part_figures import Evaluation
from andon.evaluation.frames import evaluate
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.logs import log_figures
from andon.evaluation.report import html, report
from andon.evaluation.report.page import Page
from andon.runtime import Detector, Status
from andon.runtime.items import Ref
from andon.sources.truth import Truth

DETECTOR = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))
SUBJECT = report.model_facts(DETECTOR, "frames.onnx", "parts")
MARKUP = "<b>oil&\"'"


def frames(levels: dict[str, int], masks: dict[str, Path] | None = None) -> tuple[Evaluation, Page]:
    """Return parts by key and grey level. Keys that begin with g are good."""
    parts = Parts({key: frame(place, level=level) for place, (key, level) in enumerate(levels.items())})
    truth = Truth(
        defective={key: key[0] != "g" for key in levels},
        kind={key: MARKUP for key in levels if key[0] != "g"},
        masks=masks or {},
    )
    figures, parts_judged = evaluate(DETECTOR, parts, truth)
    shown = report.parts_sections(DETECTOR, parts, truth, parts_judged)
    return figures, report.frames_page(SUBJECT, figures, parts_judged, shown)


def test_a_kept_promise_is_said_first_with_its_counts() -> None:
    _, made = frames({"g0": 128, "g1": 130, "d0": 250, "d1": 129})

    assert (made.tone, made.headline) == (
        "good",
        "Promise kept: 0 of 2 good parts rejected (0.00%); the promise is at most 5 %.",
    )
    text = Read(html.render(made)).text
    assert (
        "4 parts judged (data: parts): 2 good, 2 defective. 1 of 2 defects passed (50.0%). No promise covers defects."
        in text
    )
    assert "The file promises: with 95 % confidence at most 5 % of good parts are rejected" in text
    assert "With 95 % confidence at most 97.5 % of defects like these 2 pass (1 passed)." in text
    assert MARKUP in text
    assert [(tile.name, tile.value, tile.tone) for tile in made.tiles[:2]] == [
        ("false rejects", "0.00%", "good"),
        ("misses", "50.00%", "bad"),
    ]


def test_a_broken_promise_is_said_as_plainly() -> None:
    _, made = frames({**{f"g{n}": 200 for n in range(6)}, "g6": 128, "d0": 250})

    assert (made.tone, made.headline[:52]) == ("bad", "Promise not kept: 6 of 7 good parts rejected (85.71%")
    assert "some labels are wrong" in Read(html.render(made)).text


def test_more_rejects_than_promised_of_few_parts_are_called_neither_kept_nor_broken() -> None:
    _, made = frames({"g0": 200, "g1": 128, "g2": 128, "g3": 128, "d0": 250})

    assert made.tone == "plain"
    assert made.headline.startswith("More than promised, but within what chance allows: 1 of 4")


def test_all_pictures_of_the_reference_are_there(tmp_path: Path) -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[8:20, 10:30] = 255
    assert cv2.imwrite(str(tmp_path / "mask.png"), mask)

    figures, made = frames({"g0": 128, "g1": 200, "d0": 250, "d1": 129}, masks={"d1": tmp_path / "mask.png"})

    names = {picture.name for picture in made.pictures}
    assert names >= {
        "roc.png",
        "precision-recall.png",
        "histogram.png",
        "confusion.png",
        "recall.png",
        "mean-scores.png",
        "figures.png",
        "colour-bar.png",
    }
    assert names >= {
        f"{part}-01-{view}.png" for part in ("false-reject", "miss", "type") for view in ("input", "map", "overlay")
    }
    assert list(figures.by_score) == ["deviation", "peak"]
    assert "scores.png" in names
    assert figures.aupro is not None
    assert "AUPRO" in Read(html.render(made)).text


def test_the_report_is_written_whole_and_twice_the_same(tmp_path: Path) -> None:
    parts = Parts({"g0": frame(0), "d0": frame(1, level=250)})
    truth = Truth(defective={"g0": False, "d0": True}, kind={"d0": "stain"})
    figures, some = evaluate(DETECTOR, parts, truth)

    def written(folder: str) -> dict[str, bytes]:
        shown = report.parts_sections(DETECTOR, parts, truth, some)
        index = report.frames_report(tmp_path / folder, SUBJECT, figures, some, shown)
        return {path.name: path.read_bytes() for path in index.parent.iterdir()}

    assert written("one") == written("two") == written("one")


def test_verdicts_alone_give_figures_and_curves_and_it_is_said_that_there_are_no_pictures() -> None:
    figures, _ = frames({"g0": 128, "g1": 130, "d0": 250, "d1": 129})
    some = [
        JudgedPart(
            ref=Ref(key=key),
            score=score,
            status=Status.REJECT if score > 0.25 else Status.OK,
            defective=key[0] == "d",
            kind="a" if key[0] == "d" else "good",
        )
        for key, score in (("g0", 0.01), ("g1", 0.02), ("d0", 0.9), ("d1", 0.02))
    ]

    made = report.frames_page(report.ModelFacts(name="verdicts.jsonl", data="truth.csv"), figures, some)

    read = Read(html.render(made))
    assert "it has no pictures of parts" in read.text
    assert made.tone == "plain"
    assert len(read.images) == len(made.pictures) == 7


@pytest.mark.parametrize("defective", [False, True], ids=["good", "defective"])
def test_one_class_alone_has_no_curves_and_says_why(defective: bool) -> None:
    figures, _ = frames({"g0": 128, "d0": 250})
    alone = msgspec.structs.replace(figures, auroc=math.nan, aupr=math.nan, within_promise=None, by_defect={})
    some = [
        JudgedPart(
            ref=Ref(key=str(n)), score=0.1 * n, status=Status.OK, defective=defective, kind="a" if defective else "good"
        )
        for n in range(5)
    ]

    made = report.frames_page(SUBJECT, alone, some)

    text = Read(html.render(made)).text
    assert f"There are {'defective' if defective else 'good'} parts only" in text
    assert "nan" not in text.lower()
    assert "roc.png" not in {picture.name for picture in made.pictures}


def test_a_log_has_its_faults_stretches_and_windows() -> None:
    verdicts = judged(
        run("a", [1, 1, 1, 3, 5, 1, 1, 1, 1, 1] * 3, faults=("....p.....") * 3),
        run(MARKUP, [1.0] * 25 + [1.2] * 5, faults="." * 25 + "q" * 5),
    )
    figures = log_figures(WATCHED, verdicts)

    made = report.logs_page(report.model_facts(WATCHED, "pump.onnx", "logs"), figures, verdicts, WATCHED)

    read = Read(html.render(made))
    assert "3 of 4 faults were caught by at least one window" in read.text
    assert "By kind of fault" in read.text
    assert "look first at" in read.text
    assert "MISSED" in read.text
    assert MARKUP in read.text
    assert {picture.name for picture in made.pictures} >= {
        "miss-01.png",
        "false-reject-01.png",
        "fault-01.png",
        "windows.png",
        "rebuilt.png",
        "roc.png",
        "confusion.png",
    }
    assert [tile.name for tile in made.tiles] == ["false rejects", "caught", "delay", "AUROC"]


def test_faults_caught_by_rejecting_nearly_everything_are_not_green() -> None:
    verdicts = judged(run("a", [3.0] * 30, faults=("....p.....") * 3))

    made = report.logs_page(
        report.model_facts(WATCHED, "pump.onnx", "logs"), log_figures(WATCHED, verdicts), verdicts, WATCHED
    )

    assert [(tile.name, tile.value, tile.tone) for tile in made.tiles[:2]] == [
        ("false rejects", "100.00%", "bad"),
        ("caught", "3 of 3", "plain"),
    ]


def test_a_log_without_any_fault_is_reported_too() -> None:
    verdicts = judged(run("a", [1.0, 1.5] * 10))

    made = report.logs_page(
        report.model_facts(WATCHED, "pump.onnx", "logs"), log_figures(WATCHED, verdicts), verdicts, WATCHED
    )

    assert "There are good windows only" in Read(html.render(made)).text
    assert made.headline.startswith("Promise kept: 0 of 20 good windows")


@pytest.mark.slow
def test_a_hundred_thousand_verdicts_make_a_page_of_bounded_size() -> None:
    generator = np.random.default_rng(0)
    values = generator.gamma(2, 0.05, 100_000)
    some = [
        JudgedPart(
            ref=Ref(key=f"{n:06}"),
            score=score,
            status=Status.REJECT if score > 0.25 else Status.OK,
            defective=n % 50 == 0,
            kind=f"type {n % 7}" if n % 50 == 0 else "good",
        )
        for n, score in enumerate(values.tolist())
    ]
    figures, _ = frames({"g0": 128, "d0": 250})

    made = report.frames_page(SUBJECT, figures, some)

    assert len(html.render(made)) < 1_000_000
