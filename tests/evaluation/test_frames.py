"""Figures over parts with a known truth, compared with counts made by hand."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from tests.calibration.parts import Frame, Parts
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.evaluation.figures.intervals import rate_interval
from andon.evaluation.figures.part_figures import Confusion, Evaluation
from andon.evaluation.frames import evaluate
from andon.runtime import DataError, Detector, JudgeError, Status
from andon.runtime.calibration_facts import Sampling
from andon.runtime.model_file.format import Tail, parse, seal
from andon.runtime.schema import FrameSpec
from andon.sources.grouping import Grouped
from andon.sources.truth import Truth

BLACK = np.zeros((32, 48, 3), np.uint8)


def detector(threshold: float = 0.25, spec: FrameSpec = FRAME) -> Detector:
    """Return a detector whose score is ``|level - 128| / 128``."""
    return Detector.from_bytes(model_bytes(spec, threshold=threshold))


def stained(seed: int, rows: slice, columns: slice) -> Frame:
    made = frame(seed)
    made[rows, columns] = 250
    return made


def truth(
    defective: dict[str, bool], kind: dict[str, str] | None = None, masks: dict[str, Path] | None = None
) -> Truth:
    return Truth(defective=defective, kind=kind or {}, masks=masks or {})


def write_mask(path: Path, size: tuple[int, int], rows: slice, columns: slice) -> Path:
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = 255
    assert cv2.imwrite(str(path), mask)
    return path


LEVELS = {"g0": 128, "g1": 130, "g2": 125, "g3": 190, "a0": 200, "a1": 60, "b0": 129, "b1": 210, "b2": 140}
"""Four good parts (one is rejected), two defects a (both are caught) and three defects b (one is caught)."""


@pytest.fixture(scope="module")
def counted() -> Evaluation:
    judged = {key: frame(place, level=level) for place, (key, level) in enumerate(LEVELS.items())}
    parts = Parts({**judged, "black": BLACK, "torn": None, "unknown": frame(99, level=250)})
    defective = {key: key[0] != "g" for key in LEVELS} | {"black": True, "torn": False}
    kinds = {key: f"type {key[0]}" for key in LEVELS if key[0] != "g"}
    return evaluate(detector(), parts, truth(defective, kinds))[0]


def test_good_and_defective_parts_that_could_be_judged_are_counted_and_invalid_ones_apart(counted: Evaluation) -> None:
    assert (counted.n_good, counted.n_defect, counted.invalid) == (4, 5, 2)
    assert counted.prevalence == pytest.approx(5 / 9)


def test_rates_are_shares_at_the_embedded_threshold(counted: Evaluation) -> None:
    assert counted.threshold == 0.25
    assert counted.false_reject_rate == 1 / 4
    assert counted.miss_rate == 2 / 5


def test_rejects_and_passes_are_counted_by_what_they_should_have_been(counted: Evaluation) -> None:
    assert counted.confusion == Confusion(true_rejects=3, false_rejects=1, misses=2, true_passes=3)


def test_parts_of_unknown_truth_are_counted(counted: Evaluation) -> None:
    assert (counted.unknown, counted.unjudged) == (1, 0)


def test_scores_are_told_by_mean_and_deviation_of_good_and_of_defective_parts(counted: Evaluation) -> None:
    deviations = [abs(level - 128) / 128 for key, level in LEVELS.items() if key[0] == "g"]

    assert counted.scores_good is not None
    assert counted.scores_defect is not None
    assert counted.scores_good.mean == pytest.approx(np.mean(deviations), abs=0.01)
    assert counted.scores_good.sd == pytest.approx(np.std(deviations, ddof=1), abs=0.01)
    assert counted.scores_defect.mean > counted.scores_good.mean


def test_one_part_has_no_deviation() -> None:
    figures, _ = evaluate(detector(), Parts({"a": frame(1), "b": frame(2, level=250)}), truth({"a": False, "b": True}))

    assert [one and one.sd for one in (figures.scores_good, figures.scores_defect)] == [None, None]
    assert figures.scores_good is not None
    assert msgspec.json.decode(msgspec.json.encode(figures), type=Evaluation) == figures


def test_the_price_of_a_recall_is_told_for_the_recall_asked_for() -> None:
    parts = Parts({key: frame(place, level=level) for place, (key, level) in enumerate(LEVELS.items())})
    known = truth({key: key[0] != "g" for key in LEVELS})

    all_of_them = evaluate(detector(), parts, known)[0]
    most = evaluate(detector(), parts, known, recall=0.8)[0]

    assert (all_of_them.recall, all_of_them.fpr_at_recall) == (0.99, 3 / 4)  # found from 129 on: good 130, 125 and 190
    assert (most.recall, most.fpr_at_recall) == (0.8, 1 / 4)  # from 140 on: good 190 alone
    with pytest.raises(DataError, match="recall"):
        evaluate(detector(), parts, known, recall=0.0)


def test_intervals_hold_the_figures_and_are_left_out_on_request(counted: Evaluation) -> None:
    drawn = counted.intervals
    assert drawn is not None
    assert (drawn.level, drawn.resamples, drawn.seed, drawn.aupro) == (0.95, 1000, 0, None)
    for name in ("auroc", "aupr", "tpr_at_5_percent_fpr", "fpr_at_recall", "false_reject_rate", "miss_rate"):
        interval = getattr(drawn, name)
        assert interval.low <= getattr(counted, name) <= interval.high
    assert drawn.false_reject_rate is not None
    assert drawn.false_reject_rate.high == pytest.approx(0.806, abs=1e-3)  # one of four, exactly

    parts = Parts({"a": frame(1), "b": frame(2, level=250)})
    assert evaluate(detector(), parts, truth({"a": False, "b": True}), intervals=False)[0].intervals is None


def test_masks_give_an_interval_over_pictures(tmp_path: Path) -> None:
    rows, columns = slice(8, 24), slice(12, 36)
    frames = {f"g{seed}": frame(seed) for seed in range(3)} | {
        f"d{seed}": stained(10 + seed, rows, slice(12 + 6 * seed, 36)) for seed in range(3)
    }
    mask = write_mask(tmp_path / "mask.png", (32, 48), rows, columns)
    known = truth({key: key[0] == "d" for key in frames}, masks=dict.fromkeys(("d0", "d1", "d2"), mask))

    figures, _ = evaluate(detector(), Parts(frames), known)

    assert figures.aupro is not None
    assert figures.intervals is not None
    assert figures.intervals.aupro is not None
    assert figures.intervals.aupro.low < figures.aupro < figures.intervals.aupro.high
    assert figures.intervals.pixel_auroc is not None


def test_areas_are_those_of_the_pairs(counted: Evaluation) -> None:
    scores = {key: abs(level - 128) for key, level in LEVELS.items()}  # the noise of a frame is less than these steps
    good = [scores[key] for key in scores if key[0] == "g"]

    def pairs(keys: str) -> float:
        defects = [scores[key] for key in scores if key[0] in keys]
        return sum((bad > fine) + (bad == fine) / 2 for bad in defects for fine in good) / len(good) / len(defects)

    assert counted.auroc == pytest.approx(pairs("ab"))
    assert counted.by_defect["type a"].auroc == pytest.approx(pairs("a"))
    assert counted.by_defect["type b"].auroc == pytest.approx(pairs("b"))


def test_each_type_of_defect_has_its_own_number_and_misses(counted: Evaluation) -> None:
    assert list(counted.by_defect) == ["type a", "type b"]
    assert [kind.n for kind in counted.by_defect.values()] == [2, 3]
    assert [kind.miss_rate for kind in counted.by_defect.values()] == [0.0, 2 / 3]


def test_false_rejects_are_held_against_the_promise_but_for_chance(counted: Evaluation) -> None:
    assert counted.promise.startswith("with 95 % confidence at most 5 %")
    assert counted.within_promise is True  # one of four proves nothing yet

    many = {f"g{seed}": frame(seed, level=190) for seed in range(4)} | {"bad": frame(9, level=250)}
    figures, _ = evaluate(detector(), Parts(many), truth({key: key == "bad" for key in many}))
    assert figures.within_promise is False


def test_the_figures_are_json(counted: Evaluation) -> None:
    assert msgspec.json.decode(msgspec.json.encode(counted), type=Evaluation) == counted


def test_without_masks_nothing_is_said_of_pixels(counted: Evaluation) -> None:
    assert (counted.pixel_auroc, counted.aupro, counted.mask_step, counted.unmasked) == (None, None, None, 0)


def test_a_score_equal_to_the_threshold_is_no_reject() -> None:
    defect = frame(7, level=200)
    score = detector()(defect).score
    parts = Parts({"good": frame(1), "defect": defect})
    known = truth({"good": False, "defect": True})

    at = evaluate(detector(score), parts, known)[0]
    below = evaluate(detector(float(np.nextafter(np.float32(score), np.float32(0)))), parts, known)[0]

    assert (at.threshold, at.miss_rate) == (score, 1.0)
    assert below.miss_rate == 0.0


def test_each_part_is_given_with_what_is_true_of_it() -> None:
    parts = Parts({"good": frame(1), "odd": frame(2, level=250), "black": BLACK})

    _, judged = evaluate(
        detector(), parts, truth({"good": False, "odd": True, "black": True}, {"odd": "scratch", "black": "hole"})
    )

    assert [(part.ref.key, part.status, part.defective, part.kind) for part in judged] == [
        ("good", Status.OK, False, "good"),
        ("odd", Status.REJECT, True, "scratch"),
        ("black", Status.INVALID, True, "hole"),
    ]
    assert np.isnan(judged[2].score)


@pytest.mark.parametrize("factor", [0.5, 1, 3], ids=["smaller", "as the frame", "larger"])
def test_masks_of_any_size_are_met_by_the_map(factor: float, tmp_path: Path) -> None:
    rows, columns = slice(8, 24), slice(12, 36)
    size = (int(32 * factor), int(48 * factor))
    mask = write_mask(
        tmp_path / "mask.png",
        size,
        slice(int(8 * factor), int(24 * factor)),
        slice(int(12 * factor), int(36 * factor)),
    )
    parts = Parts({"good": frame(1), "stain": stained(2, rows, columns)})

    figures, _ = evaluate(detector(), parts, truth({"good": False, "stain": True}, masks={"stain": mask}))

    assert figures.pixel_auroc is not None
    assert figures.pixel_auroc > 0.98
    assert figures.aupro is not None
    assert figures.aupro > 0.9
    assert figures.mask_step == 1


def test_a_mask_in_the_wrong_place_is_seen(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.png", (32, 48), slice(0, 6), slice(0, 8))
    parts = Parts({"good": frame(1), "stain": stained(2, slice(16, 32), slice(24, 48))})

    figures, _ = evaluate(detector(), parts, truth({"good": False, "stain": True}, masks={"stain": mask}))

    assert figures.pixel_auroc is not None
    assert figures.pixel_auroc < 0.6


def test_a_defect_without_a_mask_counts_for_the_part_and_not_for_the_pixels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, columns = slice(8, 24), slice(12, 36)
    mask = write_mask(tmp_path / "mask.png", (32, 48), rows, columns)
    parts = Parts({"good": frame(1), "stain": stained(2, rows, columns), "bare": frame(3, level=250)})

    figures, _ = evaluate(detector(), parts, truth({"good": False, "stain": True, "bare": True}, masks={"stain": mask}))

    assert (figures.n_defect, figures.unmasked) == (2, 1)
    assert "1 of 2 defective frames have no mask. They are left out" in caplog.text
    assert figures.pixel_auroc is not None
    assert figures.pixel_auroc > 0.98  # a frame that is hot everywhere and counted as background would lower it


def test_the_map_of_a_cropped_view_is_laid_where_it_was_seen(tmp_path: Path) -> None:
    # the graph here gets the whole frame, but the card declares it as the right half of the picture
    half = msgspec.structs.replace(FRAME, crop=(0.5, 0.0, 1.0, 1.0))
    parts = Parts({"good": frame(1), "stain": stained(2, slice(0, 32), slice(24, 48))})
    known = {"good": False, "stain": True}
    right = write_mask(tmp_path / "right.png", (32, 48), slice(0, 32), slice(36, 48))
    left = write_mask(tmp_path / "left.png", (32, 48), slice(0, 32), slice(0, 24))

    seen, _ = evaluate(detector(spec=half), parts, truth(known, masks={"stain": right}))
    unseen, _ = evaluate(detector(spec=half), parts, truth(known, masks={"stain": left}))

    assert seen.pixel_auroc is not None
    assert seen.pixel_auroc > 0.98
    assert unseen.pixel_auroc is not None
    assert unseen.pixel_auroc < 0.5


def test_many_pixels_are_thinned_and_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("andon.evaluation.figures.pixel_evidence.MAX_PIXELS", 2 * 32 * 48 // 9)
    rows, columns = slice(8, 24), slice(12, 36)
    mask = write_mask(tmp_path / "mask.png", (32, 48), rows, columns)
    parts = Parts({"good": frame(1), "stain": stained(2, rows, columns)})

    figures, _ = evaluate(detector(), parts, truth({"good": False, "stain": True}, masks={"stain": mask}))

    assert figures.mask_step == 4
    assert figures.pixel_auroc is not None
    assert figures.pixel_auroc > 0.95


@pytest.mark.parametrize(
    ("defective", "told"),
    [
        ({}, "expected parts with known labels, got none"),
        ({"black": True}, "got only INVALID parts \\(1\\)"),
    ],
)
def test_nothing_to_count_is_refused(defective: dict[str, bool], told: str) -> None:
    with pytest.raises(DataError, match=told):
        evaluate(detector(), Parts({"one": frame(1), "two": frame(2), "black": BLACK}), truth(defective))


@pytest.mark.parametrize("recall", [0.0, -1.0, 1.01, float("nan")])
@pytest.mark.parametrize("defective", [False, True])
def test_a_recall_that_is_none_is_refused_whatever_there_is(recall: float, defective: bool) -> None:
    with pytest.raises(DataError, match="within 0 < recall <= 1"):
        evaluate(detector(), Parts({"a": frame(1), "b": frame(2)}), truth({"a": False, "b": defective}), recall=recall)


def test_good_parts_alone_show_whether_the_promise_holds() -> None:
    parts = Parts({str(place): frame(place, level=250 if place == 3 else 128) for place in range(20)})

    figures, judged = evaluate(detector(), parts, truth(dict.fromkeys(map(str, range(20)), False)))

    assert (figures.n_good, figures.n_defect, len(judged)) == (20, 0, 20)
    assert (figures.false_reject_rate, figures.within_promise) == (0.05, True)
    assert (figures.miss_rate, figures.auroc, figures.aupr, figures.scores_defect) == (None, None, None, None)
    assert figures.intervals is not None
    assert figures.intervals.false_reject_rate == rate_interval(1, 20)
    assert figures.intervals.auroc is None
    assert figures.confusion.false_rejects == 1
    assert msgspec.json.decode(msgspec.json.encode(figures), type=Evaluation) == figures


def test_defective_parts_alone_show_what_is_missed_by_type() -> None:
    parts = Parts({"a": frame(1, level=250), "b": frame(2), "black": BLACK})

    figures, _ = evaluate(detector(), parts, truth({"a": True, "b": True, "black": False}))

    assert (figures.n_good, figures.n_defect, figures.invalid) == (0, 2, 1)
    assert (figures.miss_rate, figures.false_reject_rate, figures.within_promise) == (0.5, None, None)
    assert figures.intervals is not None
    assert figures.intervals.miss_rate == rate_interval(1, 2)
    assert [(one.n, one.auroc) for one in figures.by_defect.values()] == [(2, None)]


@pytest.mark.parametrize("size", [(48, 32), (32, 44), (16, 20), (100, 48)])
def test_a_mask_that_cannot_be_of_its_frame_is_refused_by_name(size: tuple[int, int], tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.png", size, slice(0, 8), slice(0, 8))
    parts = Parts({"good": frame(1), "stain": stained(2, slice(8, 24), slice(12, 36))})

    with pytest.raises(DataError, match=rf"^stain: expected .* 32 x 48 .*, got {size[0]} x {size[1]}\."):
        evaluate(detector(), parts, truth({"good": False, "stain": True}, masks={"stain": mask}))


@pytest.mark.parametrize(("size", "said"), [((32, 48), False), ((16, 24), True), ((31, 48), True), ((64, 96), True)])
def test_masks_of_another_size_are_told_once(
    size: tuple[int, int], said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask = write_mask(tmp_path / "mask.png", size, slice(0, 8), slice(0, 8))
    parts = Parts({"good": frame(1), "stain": stained(2, slice(8, 24), slice(12, 36))})

    evaluate(detector(), parts, truth({"good": False, "stain": True}, masks={"stain": mask}))

    assert ("1 masks have another size" in caplog.text) is said


def test_a_frame_of_another_size_is_counted_as_invalid_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts(
        {
            "one": frame(1),
            "small": frame(2, size=(20, 20)),
            "torn": None,
            "large": frame(3, size=(64, 96)),
            "bad": frame(4, level=250),
        }
    )

    figures, judged = evaluate(
        detector(), parts, truth({key: key == "bad" for key in ("one", "small", "torn", "large", "bad")})
    )

    assert (figures.n_good, figures.n_defect, figures.invalid) == (1, 1, 3)
    assert [one.status for one in judged] == [Status.OK, *[Status.INVALID] * 3, Status.REJECT]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("3 of 5 frames were not judged and count as INVALID: 2 wrong_input, 1 unreadable.")
    assert "small: expected frames of 32 x 48 (height x width) as calibrated, got 20 x 20" in told


def test_a_failure_of_the_runtime_ends_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Detector, item: object) -> None:
        raise JudgeError("out of memory")

    loaded = detector()
    monkeypatch.setattr(Detector, "__call__", fail)

    with pytest.raises(JudgeError, match=r"^one: out of memory"):
        evaluate(loaded, Parts({"one": frame(1)}), truth({"one": False}))


def grouped_detector() -> Detector:
    model = parse(model_bytes(FRAME, threshold=0.25))
    assert model.card.calibration is not None
    calibration = msgspec.structs.replace(model.card.calibration, sampling=Sampling(method="grouped_files", units=60))
    card = msgspec.structs.replace(model.card, calibration=calibration)
    numbers = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    return Detector.from_bytes(seal(model.data, card=card, golden=model.golden, log=model.log, tail=numbers))


VIEWS = {"p1_a": 128, "p1_b": 190, "p2_a": 130, "p2_b": 131, "p3_a": 129, "p3_b": 210, "p4_a": 140, "p4_b": 139}
"""Two good parts (one is rejected in one view) and two defects (one is found in one of its two views)."""


def test_a_part_of_several_frames_counts_once_by_its_worst_frame(caplog: pytest.LogCaptureFixture) -> None:
    collection = Grouped(Parts({key: frame(n, level=level) for n, (key, level) in enumerate(VIEWS.items())}), r"^(p\d)")
    known = truth({key: key[1] in "34" for key in VIEWS})

    figures, judged = evaluate(grouped_detector(), collection, known, by_part=True)

    assert (figures.n_good, figures.n_defect, figures.frames) == (2, 2, 8)
    assert (figures.false_reject_rate, figures.miss_rate) == (1 / 2, 1 / 2)
    assert figures.auroc == 3 / 4  # 190 and 131 against 210 and 140
    assert [one.ref.key for one in judged] == ["p1_b", "p2_b", "p3_b", "p4_a"]
    assert figures.intervals is not None
    assert figures.intervals.false_reject_rate is not None
    assert figures.intervals.false_reject_rate.high == pytest.approx(0.987, abs=1e-3)  # one of two, exactly
    assert not caplog.text


def test_frames_that_count_as_parts_are_told_where_the_file_was_calibrated_on_grouped_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = Parts({"a": frame(1), "b": frame(2, level=250)})

    figures, _ = evaluate(grouped_detector(), parts, truth({"a": False, "b": True}), intervals=False)

    assert figures.frames == 0
    assert "give --group here too" in caplog.text


def test_a_part_is_defective_where_one_of_its_frames_is_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    collection = Grouped(Parts({key: frame(n, level=level) for n, (key, level) in enumerate(VIEWS.items())}), r"^(p\d)")
    known = truth({key: key in ("p3_a", "p4_a", "p4_b") for key in VIEWS}, {"p3_a": "scratch"})

    _, judged = evaluate(grouped_detector(), collection, known, by_part=True, intervals=False)

    assert [(one.defective, one.kind) for one in judged[2:]] == [(True, "scratch"), (True, "defect")]
    assert "1 of 4 parts have frames with different truths, for example 'p3' (good, scratch)" in caplog.text


def test_a_part_with_an_invalid_frame_is_invalid_unless_another_frame_is_rejected() -> None:
    frames = {
        "g_a": frame(1),
        "h_a": frame(1),
        "h_b": None,  # good
        "d_a": frame(2, level=250),
        "d_b": BLACK,
        "m_a": frame(2),
        "m_b": BLACK,
        "x_a": BLACK,
        "x_b": None,
    }

    figures, judged = evaluate(
        detector(), Grouped(Parts(frames), "^(.)"), truth({key: key[0] not in "gh" for key in frames}), by_part=True
    )

    statuses = {one.ref.part: one.status for one in judged}
    assert statuses == {
        "g": Status.OK,
        "h": Status.INVALID,
        "d": Status.REJECT,
        "m": Status.INVALID,  # neither a miss nor a catch
        "x": Status.INVALID,
    }
    assert (figures.n_good, figures.n_defect, figures.invalid) == (1, 1, 3)
    assert (figures.miss_rate, figures.false_reject_rate) == (0.0, 0.0)
