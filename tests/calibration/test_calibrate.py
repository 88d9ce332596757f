"""Calibration: from scores of good parts to the numbers in the file, and what it refuses."""

import hashlib
import logging
import math
import re
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from msgspec.structs import replace
from tests.calibration.parts import Parts
from tests.calibration.scores import log_of, scores_of
from tests.runtime.hand_made import FRAME, WINDOW, blank_bytes, frame, graph, model_bytes
from tests.runtime.test_old_files import OLD

from andon.calibration.calibrate import calibrate, lift
from andon.calibration.dependence import dependence_time, effective_number
from andon.calibration.promise import LADDER, allowance, expected_rate, ladder_alpha, strongest
from andon.calibration.request import CalibrationRequest, PromiseRequest, ShiftRequest
from andon.calibration.scoring import score
from andon.calibration.statement import refuse_too_few
from andon.calibration.units import reduce_to_units, top_parts
from andon.foundation.errors import CalibrationError, ConfigError, InputError, NotEnoughParts
from andon.runtime import Detector
from andon.runtime.calibration_facts import Calibration
from andon.runtime.drift import DriftState, step
from andon.runtime.items import Item, Ref
from andon.runtime.model_file.format import BLANK, parse, read, seal
from andon.runtime.schema import TOLERANCE, FrameSpec, Status, canonical_json

DATE = "2026-11-22"
FRAMES, WINDOWS = (blank_bytes(graph(spec), spec) for spec in (FRAME, WINDOW))
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def good(count: int, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).gamma(4.0, 0.05, count)


def calibration_of(data: bytes) -> Calibration:
    calibration = parse(data).card.calibration
    assert calibration is not None
    return calibration


@given(scores=nps.arrays(np.float64, st.integers(1, 30), elements=FINITE), scale=st.floats(0, 2.0**100, width=32))
def test_lifting_never_lowers_a_score_nor_changes_the_order(
    scores: "np.ndarray[tuple[int], np.dtype[np.float64]]", scale: float
) -> None:
    lifted = lift(np.sort(scores), scale, TOLERANCE)

    assert lifted.dtype == np.float32
    assert (lifted > np.sort(scores)).all()
    assert (np.diff(lifted) >= 0).all()


@given(score=FINITE, scale=st.floats(0, 2.0**100, width=32))
def test_a_lifted_score_leaves_room_for_the_parity_tolerance_and_little_more(score: float, scale: float) -> None:
    size = max(abs(score), scale)

    raised = float(lift(np.array([score]), scale, TOLERANCE)[0]) - score

    ulp = float(np.spacing(np.float32(max(abs(score) + 1e-4 * size, 1e-37))))
    assert 1e-4 * size - ulp <= raised <= 1e-4 * size + 2 * ulp


@pytest.mark.parametrize("count", [14, 58, 59, 298, 299, 700])
def test_the_promise_is_the_strongest_on_the_ladder_that_the_parts_carry(count: int) -> None:
    calibration = calibration_of(calibrate(FRAMES, scores_of(good(count)), CalibrationRequest(date=DATE)))

    assert (calibration.kind, calibration.n, calibration.n_eff) == ("promise", count, count)
    assert calibration.alpha == ladder_alpha(count)
    assert calibration.above == allowance(count, calibration.alpha)


def test_the_threshold_is_the_lifted_score_that_leaves_the_allowed_number_above() -> None:
    values = good(1000)

    model = parse(
        calibrate(FRAMES, scores_of(values), CalibrationRequest(promise=PromiseRequest(false_reject=0.02), date=DATE))
    )

    above = allowance(1000, 0.02)
    assert above > 5
    assert model.threshold == lift(np.sort(values), float(np.median(values)), TOLERANCE)[1000 - 1 - above]
    assert (values > model.threshold).sum() <= above


def test_thirteen_parts_carry_no_promise_and_the_refusal_says_what_they_can() -> None:
    with pytest.raises(
        NotEnoughParts, match=r"needs 14 good calibration parts, got 13\. Collect 1 more.*--false-reject 0\.20"
    ):
        calibrate(FRAMES, scores_of(good(13)), CalibrationRequest(date=DATE))


def test_a_wish_that_the_parts_cannot_carry_is_refused_with_the_strongest_that_they_can() -> None:
    with pytest.raises(NotEnoughParts, match=r"needs 299 good calibration parts, got 62\..*--false-reject 0\.0472"):
        calibrate(FRAMES, scores_of(good(62)), CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date=DATE))

    assert strongest(62) <= 0.0472


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5.0, math.nan])
@pytest.mark.parametrize("kind", ["parts", "windows"])
@pytest.mark.parametrize("no_promise", [False, True])
def test_a_rate_that_is_no_fraction_is_refused_as_one(alpha: float, kind: str, no_promise: bool) -> None:
    data, scores = (FRAMES, scores_of(good(100))) if kind == "parts" else (WINDOWS, log_of([good(50), good(50, 1)]))

    with pytest.raises(ConfigError, match="fraction between 0 and 1"):
        calibrate(
            data,
            scores,
            CalibrationRequest(promise=PromiseRequest(false_reject=alpha, no_promise=no_promise), date=DATE),
        )


@given(st.integers(1, 400), st.sampled_from([None, 0.01, 0.05, 0.2]), st.booleans())
def test_what_is_refused_beforehand_is_what_calibration_would_refuse(
    count: int, wished: float | None, no_promise: bool
) -> None:
    wish = PromiseRequest(false_reject=wished, no_promise=no_promise)
    enough = no_promise or strongest(count) <= (wished or max(LADDER))

    if enough:
        refuse_too_few(count, wish, windows=False)
    else:
        with pytest.raises(NotEnoughParts) as beforehand:
            refuse_too_few(count, wish, windows=False)
        with pytest.raises(NotEnoughParts) as afterwards:
            calibrate(FRAMES, scores_of(good(count)), CalibrationRequest(promise=wish, date=DATE))
        assert str(beforehand.value) == str(afterwards.value)


def test_an_estimate_is_written_only_where_no_promise_can_be() -> None:
    few = calibration_of(
        calibrate(FRAMES, scores_of(good(9)), CalibrationRequest(promise=PromiseRequest(no_promise=True), date=DATE))
    )
    enough = calibration_of(
        calibrate(FRAMES, scores_of(good(60)), CalibrationRequest(promise=PromiseRequest(no_promise=True), date=DATE))
    )

    assert (few.kind, few.alpha, few.above) == ("estimate", expected_rate(9, 0), 0)
    assert few.sentence.startswith("no promise, an estimate: about 10 % of good parts may be rejected, or more")
    assert enough.kind == "promise"


def test_an_estimate_is_never_stronger_than_its_parts_whatever_was_wished() -> None:
    calibration = calibration_of(
        calibrate(
            FRAMES,
            scores_of(good(9)),
            CalibrationRequest(promise=PromiseRequest(false_reject=0.001, no_promise=True), date=DATE),
        )
    )

    assert (calibration.kind, calibration.alpha) == ("estimate", expected_rate(9, 0))


def test_a_part_scores_as_the_worst_of_its_frames() -> None:
    refs = [Ref(key=f"{part}-{view}.png", part=f"part{part:02}") for part in range(20) for view in range(3)]
    values = good(60)

    sample = reduce_to_units(scores_of(values, refs), windows=False, grouped=True)

    assert sample.scores.tolist() == values.reshape(20, 3).max(axis=1).tolist()
    assert sample.keys == tuple(f"part{part:02}" for part in range(20))
    assert sample.sampling.sentence == "parts as grouped on export"


def test_a_part_with_a_frame_that_is_invalid_by_its_content_counts_as_worse_than_all_others() -> None:
    refs = [Ref(key=f"{part}-{view}.png", part=f"part{part:02}") for part in range(40) for view in range(2)]
    values = good(80)
    values[[1, 4, 5]] = np.nan  # one view of part 0, both of part 2

    sample = reduce_to_units(scores_of(values, refs), windows=False, grouped=True)

    assert (sample.invalid, len(sample.scores)) == (0, 40)
    assert np.flatnonzero(np.isinf(sample.scores)).tolist() == [0, 2]
    assert sample.scores[1] == values[2:4].max()


def test_a_part_with_a_frame_that_was_lost_is_left_out_and_counted() -> None:
    refs = [Ref(key=f"{part}-{view}.png", part=f"part{part:02}") for part in range(40) for view in range(2)]

    sample = reduce_to_units(scores_of(good(80), refs, lost=[1, 4, 5]), windows=False, grouped=True)

    assert (sample.invalid, len(sample.scores)) == (2, 38)
    assert "part00" not in sample.keys
    assert "part02" not in sample.keys


def test_a_part_that_is_invalid_by_its_content_takes_one_of_the_places_above_the_threshold() -> None:
    values = good(1000)
    values[:3] = np.nan

    model = parse(
        calibrate(FRAMES, scores_of(values), CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date=DATE))
    )

    assert allowance(1000, 0.01) == 4
    finite = np.sort(values[3:])
    assert model.threshold == lift(finite, float(np.median(finite)), TOLERANCE)[-2]
    calibration = calibration_of(model.data)
    assert (calibration.n, calibration.above, calibration.invalid) == (1000, 4, 0)


def test_more_parts_invalid_by_their_content_than_the_promise_leaves_room_for_are_refused() -> None:
    values = good(1000)
    values[7:12] = np.nan
    scores = scores_of(values)

    with pytest.raises(
        CalibrationError, match=r"5 of 1000 .*\(the first: 0007\.png, no contrast.* allows 4 of them"
    ) as refusal:
        calibrate(FRAMES, scores, CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date=DATE))

    offered = re.search(r"--false-reject ([\d.]+)\.$", str(refusal.value))
    assert offered is not None
    calibrate(FRAMES, scores, CalibrationRequest(promise=PromiseRequest(false_reject=float(offered[1])), date=DATE))


def test_an_estimate_is_written_where_parts_that_are_invalid_leave_no_room_for_a_promise() -> None:
    values = good(30)
    values[0] = np.nan

    with pytest.raises(CalibrationError, match="allows 0 of them"):
        calibrate(FRAMES, scores_of(values), CalibrationRequest(date=DATE))

    model = parse(
        calibrate(FRAMES, scores_of(values), CalibrationRequest(promise=PromiseRequest(no_promise=True), date=DATE))
    )
    assert calibration_of(model.data).kind == "estimate"
    assert np.isfinite(model.threshold)


def test_an_estimate_stands_on_the_highest_part_that_could_be_judged() -> None:
    values = good(12)
    values = np.concatenate([values, good(10, 1)])
    values[3] = np.nan

    model = parse(
        calibrate(
            FRAMES,
            scores_of(values),
            CalibrationRequest(promise=PromiseRequest(false_reject=0.01, no_promise=True), date=DATE),
        )
    )

    assert np.nanmax(values) < model.threshold < 1.01 * np.nanmax(values)
    assert calibration_of(model.data).alpha == pytest.approx(2 / 23)


def test_equal_contents_count_as_one_part(caplog: pytest.LogCaptureFixture) -> None:
    scores = scores_of(np.tile(good(20), 35))
    copied = msgspec.structs.replace(scores, contents=tuple(f"{place % 20:040}" for place in range(700)))

    calibration = calibration_of(calibrate(FRAMES, copied, CalibrationRequest(date=DATE)))

    assert (calibration.n, calibration.alpha) == (20, 0.2)
    assert "700 calibration pictures contain only 20 distinct ones" in caplog.text
    with pytest.raises(NotEnoughParts, match="got 1"):
        calibrate(FRAMES, msgspec.structs.replace(scores, contents=("0" * 40,) * 700), CalibrationRequest(date=DATE))


def test_runs_that_repeat_another_run_count_once() -> None:
    scores = log_of([[value] for value in np.tile(good(20), 20)])
    copied = msgspec.structs.replace(scores, contents=tuple(f"{place % 20:040}" for place in range(400)))

    calibration = calibration_of(calibrate(WINDOWS, copied, CalibrationRequest(date=DATE)))

    assert (calibration.n, calibration.drawn) == (20, "one window from each of 20 independent runs")


def test_equal_windows_within_one_run_all_count() -> None:
    scores = msgspec.structs.replace(log_of([good(100), good(100, 1)]), contents=("0" * 40,) * 199 + ("1" * 40,))

    assert (
        calibration_of(
            calibrate(WINDOWS, scores, CalibrationRequest(promise=PromiseRequest(no_promise=True), date=DATE))
        ).n
        == 200
    )


@pytest.mark.parametrize(
    ("sizes", "expected"), [(((48, 64),), (48, 64)), (((32, 48), (48, 64)), None), ((), (32, 48))], ids=str
)
def test_a_file_that_is_calibrated_again_takes_the_frames_of_its_new_parts(
    sizes: tuple[tuple[int, int], ...], expected: tuple[int, int] | None
) -> None:
    old = model_bytes(FRAME, threshold=0.25)
    scores = msgspec.structs.replace(scores_of(good(100)), frame_sizes=sizes, provider="cuda")

    card = parse(calibrate(old, scores, CalibrationRequest(date=DATE, forced=True))).card

    assert isinstance(card.input, FrameSpec)
    assert card.input.frame_size == expected
    assert card.provider == "cuda"
    assert card.versions == {"onnx": "1.0"} | {name: version(name) for name in ("andon", "numpy", "onnxruntime")}


def test_a_file_calibrated_on_the_frames_of_a_new_camera_judges_them() -> None:
    parts = Parts({f"{seed}.png": frame(seed, size=(60, 80)) for seed in range(40)})
    old = model_bytes(FRAME, threshold=0.25)
    with pytest.raises(InputError, match="expected frames of 32 x 48"):
        Detector.from_bytes(old)(frame(99, size=(60, 80)))

    new = calibrate(old, score(old, parts), CalibrationRequest(date=DATE, forced=True))

    assert np.isfinite(Detector.from_bytes(new)(frame(99, size=(60, 80))).score)


def test_of_each_lot_one_part_is_drawn_by_the_seed() -> None:
    refs = [Ref(key=f"{lot}-{part}.png", group=f"lot{lot:02}") for lot in range(30) for part in range(4)]
    scores = scores_of(good(120), refs)

    samples = [reduce_to_units(scores, windows=False, grouped=True, seed=seed) for seed in (0, 0, 1)]

    assert {key.partition("-")[0] for key in samples[0].keys} == {str(lot) for lot in range(30)}
    assert len(samples[0].keys) == 30
    assert samples[0].keys == samples[1].keys
    assert samples[0].keys != samples[2].keys
    assert "one part drawn from each of 30 lots (120 parts)" in samples[0].sampling.sentence


@given(order=st.permutations(range(24)))
def test_the_order_of_the_parts_does_not_matter(order: list[int]) -> None:
    refs = [Ref(key=f"{lot}-{part}.png", group=f"lot{lot}") for lot in range(8) for part in range(3)]
    values = good(24)

    sample = reduce_to_units(
        scores_of(values[order], [refs[place] for place in order]), windows=False, grouped=True, seed=3
    )

    straight = reduce_to_units(scores_of(values, refs), windows=False, grouped=True, seed=3)
    assert (sample.keys, sample.scores.tolist()) == (straight.keys, straight.scores.tolist())


def test_up_to_five_percent_that_were_lost_are_left_out_and_counted() -> None:
    calibration = calibration_of(calibrate(FRAMES, scores_of(good(100), lost=range(5)), CalibrationRequest(date=DATE)))

    assert (calibration.n, calibration.invalid, calibration.alpha) == (95, 5, 0.05)


def test_more_lost_ones_are_refused_with_the_first_of_them() -> None:
    values = good(100)
    values[2] = np.nan

    with pytest.raises(CalibrationError, match=r"input of 6 of 100 .* lost \(the first: 0007\.png, unreadable"):
        calibrate(FRAMES, scores_of(values, lost=range(7, 13)), CalibrationRequest(date=DATE))


def test_parts_that_are_invalid_by_their_content_count_as_the_worst_scores_however_many_they_are() -> None:
    values = good(200)
    values[7:27] = np.nan
    wish = CalibrationRequest(promise=PromiseRequest(false_reject=0.2), date=DATE)

    model = parse(calibrate(FRAMES, scores_of(values), wish))

    calibration = calibration_of(model.data)
    assert (calibration.n, calibration.invalid, calibration.invalid_content) == (200, 0, 20)
    assert "20 of the parts are INVALID by their content" in calibration.invalid_sentence
    plain = scores_of(np.where(np.isnan(values), 1e6, values))
    assert model.threshold == pytest.approx(parse(calibrate(FRAMES, plain, wish)).threshold, rel=1e-6)


def test_a_promise_that_does_not_allow_the_parts_invalid_by_their_content_names_the_first() -> None:
    values = good(100)
    values[7:13] = np.nan

    with pytest.raises(
        CalibrationError, match=r"6 of 99 .*content \(the first: 0007\.png, no contrast.*--false-reject 0\.2"
    ):
        calibrate(FRAMES, scores_of(values, lost=[3]), CalibrationRequest(date=DATE))


def test_nothing_but_invalid_parts_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"all 20 calibration parts are INVALID \(the first: 0000\.png"):
        calibrate(
            FRAMES,
            scores_of(np.full(20, np.nan)),
            CalibrationRequest(promise=PromiseRequest(no_promise=True), date=DATE),
        )


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["parts", "windows", "one log"])
def test_a_score_that_is_no_number_never_becomes_a_threshold_even_where_its_status_says_ok(
    odd: float, kind: str
) -> None:
    values = good(200)
    forged = {"parts": scores_of(values), "windows": log_of([[value] for value in values]), "one log": log_of([values])}
    forged[kind].score[3] = odd

    wish = PromiseRequest(false_reject=0.05)
    model = parse(
        calibrate(FRAMES if kind == "parts" else WINDOWS, forged[kind], CalibrationRequest(promise=wish, date=DATE))
    )

    assert 0 < model.threshold <= 1.001 * values.max()
    calibration = model.card.calibration
    assert calibration is not None
    assert (calibration.n, calibration.invalid) == (200, 0)


def test_windows_of_runs_of_their_own_carry_a_plain_promise() -> None:
    calibration = calibration_of(
        calibrate(WINDOWS, log_of([[value] for value in good(300)]), CalibrationRequest(date=DATE))
    )

    assert (calibration.kind, calibration.alpha, calibration.n_eff) == ("promise", 0.01, 300)
    assert calibration.unit == "window"
    assert calibration.drawn == "one window from each of 300 independent runs"


def test_windows_of_one_log_count_by_their_effective_number(caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(5).normal(size=2000)
    run = np.empty(2000)
    level = 0.0
    for place, value in enumerate(noise):
        level = 0.8 * level + value
        run[place] = level

    with caplog.at_level(logging.WARNING):
        calibration = calibration_of(calibrate(WINDOWS, log_of([run]), CalibrationRequest(date=DATE)))

    tau = dependence_time([run], calibration.alpha)
    assert calibration.kind == "promise(n_eff)"
    assert calibration.tau == pytest.approx(tau)
    assert calibration.n_eff == effective_number(2000, tau) < 500
    assert calibration.above == allowance(2000, calibration.alpha, n_eff=int(calibration.n_eff))
    assert "neighbouring windows depend on each other" in caplog.text


def test_windows_are_taken_in_the_order_of_time_whatever_order_they_came_in() -> None:
    scores = log_of([good(200), good(200, 1)])
    backwards = log_of([good(200), good(200, 1)])
    for name in ("score", "status", "reason"):
        getattr(backwards, name)[:] = getattr(backwards, name)[::-1].copy()
    turned = scores_of(backwards.score, backwards.refs[::-1])

    assert calibrate(WINDOWS, turned, CalibrationRequest(date=DATE)) == calibrate(
        WINDOWS, scores, CalibrationRequest(date=DATE)
    )


def test_the_same_scores_give_the_same_bytes() -> None:
    first, second = (calibrate(FRAMES, scores_of(good(80)), CalibrationRequest(date=DATE)) for _ in range(2))

    assert first == second


def test_calibrating_a_file_of_schema_1_0_keeps_its_log_and_graph_and_raises_its_schema() -> None:
    old = read(OLD / "squares.onnx")

    new = parse(calibrate(old.data, log_of([good(300)]), CalibrationRequest(date=DATE, forced=True)))

    assert (old.card.schema, new.card.schema) == ((1, 0), (1, 1))
    assert new.log[0] == old.log[0]
    assert new.graph_sha256 == old.graph_sha256
    calibration = new.card.calibration
    assert calibration is not None
    assert calibration.sampling is not None
    assert (calibration.sampling.method, calibration.sampling.units, calibration.sampling.groups) == (
        "effective_number",
        300,
        1,
    )
    assert (calibration.dependence, calibration.precision, calibration.provider) == ("", "float32", "cpu")


def test_the_threshold_is_raised_by_the_tolerance_of_the_file() -> None:
    model = parse(FRAMES, allow_blank=True)
    coarse = seal(FRAMES, card=replace(model.card, tolerance=0.01), golden=model.golden, log=(), tail=BLANK)
    values = good(59)

    thresholds = [
        parse(calibrate(data, scores_of(values), CalibrationRequest(date=DATE))).threshold for data in (FRAMES, coarse)
    ]

    scale = float(np.median(values))
    assert thresholds == [float(lift(np.sort(values), scale, tolerance)[-1]) for tolerance in (1e-4, 0.01)]
    assert thresholds[1] > thresholds[0]


def test_calibrating_again_adds_to_the_log_and_keeps_the_graph() -> None:
    old = parse(model_bytes(FRAME, threshold=0.25))

    new = parse(calibrate(old.data, scores_of(good(100)), CalibrationRequest(date=DATE, forced=True)))
    newest = parse(
        calibrate(
            new.data,
            scores_of(good(100, 1)),
            CalibrationRequest(promise=PromiseRequest(false_reject=0.1), date="2027-01-01", forced=True),
        )
    )

    assert [len(model.log) for model in (old, new, newest)] == [1, 2, 3]
    assert newest.log[:2] == new.log
    assert newest.log[2].previous == hashlib.sha256(canonical_json(new.log[1])).hexdigest()
    assert (newest.log[2].date, newest.log[2].alpha) == ("2027-01-01", 0.1)
    assert newest.log[2].threshold == newest.threshold
    assert old.graph_sha256 == new.graph_sha256 == newest.graph_sha256
    assert len({old.digest, new.digest, newest.digest}) == 3
    assert old.golden == newest.golden


def test_the_file_names_the_parts_by_a_digest_and_not_by_their_keys() -> None:
    data = calibrate(FRAMES, scores_of(good(60)), CalibrationRequest(date=DATE))

    keys = "\n".join(f"{number:04}.png" for number in range(60))
    assert calibration_of(data).part_keys_sha256 == hashlib.sha256(keys.encode()).hexdigest()
    assert b"0001.png" not in data


def test_the_median_scale_and_colour_scale_are_of_the_good_parts() -> None:
    values = -good(60)

    calibration = calibration_of(
        calibrate(FRAMES, scores_of(values, map_values=np.arange(1001)), CalibrationRequest(date=DATE))
    )

    assert calibration.good_median == np.median(values)
    assert calibration.good_scale == np.median(np.abs(values))
    assert calibration.map_scale == pytest.approx(999.0)


def test_a_score_that_saturates_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        calibrate(FRAMES, scores_of(np.minimum(good(200), 0.2)), CalibrationRequest(date=DATE))

    assert "the score saturates" in caplog.text


def test_the_ladder_is_never_left_unless_a_wish_says_so() -> None:
    on_the_ladder = calibration_of(calibrate(FRAMES, scores_of(good(100)), CalibrationRequest(date=DATE)))
    wished = calibration_of(
        calibrate(
            FRAMES, scores_of(good(100)), CalibrationRequest(promise=PromiseRequest(false_reject=0.03), date=DATE)
        )
    )

    assert on_the_ladder.alpha in LADDER
    assert wished.alpha == 0.03


def test_the_highest_parts_come_first() -> None:
    sample = reduce_to_units(scores_of([0.1, 0.9, 0.5]), windows=False, grouped=False)

    assert top_parts(sample, 2) == [("0001.png", 0.9), ("0002.png", 0.5)]


def test_scores_that_drift_while_they_are_recorded_get_no_promise() -> None:
    drifting = log_of([np.random.default_rng(0).normal(0, 1, 3000) + np.linspace(0, 0.6, 3000)])
    request = PromiseRequest(false_reject=0.2, no_promise=True)

    with pytest.raises(CalibrationError, match=r"the scores of the good windows drifted .* --no-promise"):
        calibrate(WINDOWS, drifting, CalibrationRequest(promise=replace(request, no_promise=False), date=DATE))
    estimate = calibration_of(calibrate(WINDOWS, drifting, CalibrationRequest(promise=request, date=DATE)))

    assert estimate.kind == "estimate"
    assert estimate.sampling is not None
    assert estimate.sampling.steadiness is not None
    assert estimate.sampling.steadiness.sentence.startswith("the scores drifted within the record (p = ")


def test_the_check_against_drift_is_stored_next_to_the_promise() -> None:
    steady = log_of([np.random.default_rng(0).normal(0, 1, 1000)])

    calibration = calibration_of(calibrate(WINDOWS, steady, CalibrationRequest(date=DATE)))

    assert calibration.sampling is not None
    assert calibration.sampling.steadiness is not None
    assert calibration.sampling.steadiness.p >= calibration.sampling.steadiness.limit


def test_a_shift_promise_lowers_the_number_of_parts_above_the_threshold_if_it_must() -> None:
    scores = scores_of(good(1000))
    rate = calibration_of(
        calibrate(FRAMES, scores, CalibrationRequest(promise=PromiseRequest(false_reject=0.05), date=DATE))
    )
    wished = PromiseRequest(false_reject=0.05, shift=ShiftRequest(parts=1000, rejects=20))

    with_shift = calibration_of(calibrate(FRAMES, scores, CalibrationRequest(promise=wished, date=DATE)))

    assert (rate.above, rate.shift) == (38, None)
    assert with_shift.above == 10
    assert with_shift.further_sentences == (
        ("shift", "with 95 % confidence at most 20 of the next 1000 good parts are rejected"),
    )


def test_a_promise_about_every_shift_names_the_share_of_shifts() -> None:
    wished = PromiseRequest(shift=ShiftRequest(parts=1000, rejects=20, share=0.9))

    calibration = calibration_of(
        calibrate(FRAMES, scores_of(good(1000)), CalibrationRequest(promise=wished, date=DATE))
    )

    assert calibration.further_sentences == (
        ("shift", "with 95 % confidence at most 20 of 1000 good parts are rejected in at least 90 % of all shifts"),
    )


def test_a_shift_promise_about_windows_counts_independent_ones() -> None:
    rng = np.random.default_rng(4)
    slow = np.convolve(rng.normal(0, 1, 6004), np.ones(5), "valid")
    wished = PromiseRequest(false_reject=0.05, shift=ShiftRequest(parts=2000, rejects=100))

    calibration = calibration_of(calibrate(WINDOWS, log_of([slow]), CalibrationRequest(promise=wished, date=DATE)))

    assert calibration.shift is not None
    assert calibration.shift.approximate
    assert calibration.shift.sentence.endswith("are rejected (approximate, because parts depend on each other)")
    assert calibration.tau > 3
    assert calibration.above <= allowance(6000, 0.05, n_eff=int(calibration.n_eff))


def test_a_review_band_has_a_lower_limit_and_a_joint_confidence() -> None:
    wished = PromiseRequest(false_reject=0.01, review=0.05)
    data = calibrate(FRAMES, scores_of(good(1000)), CalibrationRequest(promise=wished, date=DATE))
    model, calibration = parse(data), calibration_of(data)

    lifted = lift(np.sort(good(1000)), calibration.good_scale, TOLERANCE)
    assert calibration.review is not None
    assert (calibration.above, calibration.review.above) == (4, 36)
    assert (model.threshold, model.review) == (float(lifted[1000 - 5]), float(lifted[1000 - 37]))
    assert calibration.further_sentences == (
        (
            "review",
            (
                "with 95.3 % confidence at most 5 % of good parts do not pass (review or reject), and the promise about rejected "
                "parts holds as well"
            ),
        ),
    )


def test_a_file_with_a_review_band_gives_review_between_its_limits(tmp_path: Path) -> None:
    parts = Parts({f"{number}.png": frame(number) for number in range(40)})
    wished = PromiseRequest(false_reject=0.2, review=0.5)
    path = tmp_path / "review.onnx"
    path.write_bytes(calibrate(FRAMES, score(FRAMES, parts), CalibrationRequest(promise=wished, date=DATE)))
    model = parse(path.read_bytes())
    detector = Detector.load(path)

    verdicts = [detector(item.data) for ref in parts.refs if isinstance(item := parts.read(ref), Item)]

    seen = {verdict.status for verdict in verdicts}
    assert Status.REVIEW in seen
    for verdict in verdicts:
        limits = (verdict.score > model.review) + (verdict.score > model.threshold)
        assert verdict.status == (Status.OK, Status.REVIEW, Status.REJECT)[limits]


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        (
            PromiseRequest(shift=ShiftRequest(parts=500, rejects=5)),
            r"at most 5 rejects in the next 500 good parts.*at least 323 .* 70 calibration parts support at most 22 rejects",
        ),
        (
            PromiseRequest(shift=ShiftRequest(parts=500, rejects=5, share=0.9)),
            r"in 90 % of all shifts of 500 good parts.*at least \d+ .* got 70",
        ),
        (
            PromiseRequest(false_reject=0.05, review=0.06),
            r"at most 6 % of good parts in review .* got 70\..* support --review 0\.",
        ),
    ],
    ids=["shift", "every shift", "review"],
)
def test_too_few_parts_for_a_further_promise_are_refused_before_anything_is_computed(
    promise: PromiseRequest, message: str
) -> None:
    with pytest.raises(NotEnoughParts, match=message):
        refuse_too_few(70, promise, windows=False)
    with pytest.raises(NotEnoughParts, match=message):
        calibrate(FRAMES, scores_of(good(70)), CalibrationRequest(promise=promise, date=DATE))


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        (PromiseRequest(shift=ShiftRequest(parts=5, rejects=5)), "rejects of a shift: expected an integer from 0 to 4"),
        (PromiseRequest(shift=ShiftRequest(parts=500, rejects=5, share=95.0)), "--every-shift.*expected a fraction"),
        (PromiseRequest(false_reject=0.05, review=0.05), "--review: expected more than the promised"),
        (PromiseRequest(review=1.5), "share of good parts that may need a review: expected a fraction"),
    ],
    ids=["all rejected", "percent", "no band", "share"],
)
def test_further_promises_that_make_no_sense_are_refused_for_windows_as_well(
    promise: PromiseRequest, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_too_few(10_000, promise, windows=True)


def test_an_estimate_has_no_further_promises_and_a_warning_names_them(caplog: pytest.LogCaptureFixture) -> None:
    wished = PromiseRequest(no_promise=True, false_reject=0.01, review=0.05)
    with caplog.at_level(logging.WARNING):
        data = calibrate(FRAMES, scores_of(good(20)), CalibrationRequest(promise=wished, date=DATE))

    assert calibration_of(data).further_sentences == ()
    assert parse(data).review == parse(data).threshold
    assert "no review band" in caplog.text


def test_limits_of_drift_charts_are_stored_on_request(tmp_path: Path) -> None:
    plain = calibration_of(calibrate(FRAMES, scores_of(good(300)), CalibrationRequest(date=DATE)))
    path = tmp_path / "drift.onnx"
    path.write_bytes(calibrate(FRAMES, scores_of(good(300)), CalibrationRequest(date=DATE, drift=True)))

    model = read(path)
    drift = calibration_of(path.read_bytes()).drift

    assert plain.drift is None
    assert drift is not None
    assert len(drift.z) == np.isfinite(model.tail_x).sum() + 1
    assert drift.cusum is not None
    state = DriftState(digest=model.digest)
    for value in good(500, seed=1).tolist():
        state = step(state, value, rejected=value > model.threshold, reference=drift, knots=model.tail_x)
    assert "cusum" not in state.alarms
    for value in (good(500, seed=2) + 0.1).tolist():
        state = step(state, value, rejected=value > model.threshold, reference=drift, knots=model.tail_x)
    assert "cusum" in state.alarms


def test_one_independent_score_gives_no_limits_of_drift_charts() -> None:
    request = CalibrationRequest(date=DATE, drift=True, promise=PromiseRequest(no_promise=True))

    assert calibration_of(calibrate(FRAMES, scores_of([0.5]), request)).drift is None
