"""Known defects set the lower limit of the review band, with a joint confidence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import ArrayLike
from scipy.stats import binom
from tests.calibration.scores import scores_of
from tests.runtime.hand_made import FRAME, WINDOW, blank_bytes, graph

from andon.calibration.calibrate import calibrate
from andon.calibration.known_defects import KnownDefects
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.scoring import Scores
from andon.foundation.errors import CalibrationError, ConfigError, NotEnoughParts
from andon.runtime.calibration_facts import Calibration
from andon.runtime.items import Ref
from andon.runtime.model_file.format import ModelFile, parse

FRAMES = blank_bytes(graph(FRAME), FRAME)
REQUEST = CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date="2026-11-30")


def good(count: int = 300, seed: int = 0) -> Scores:
    return scores_of(np.random.default_rng(seed).gamma(4.0, 0.05, count))


def defects(values: ArrayLike, *, lost: tuple[int, ...] = ()) -> Scores:
    refs = [Ref(key=f"defect{number:03}.png") for number in range(len(np.asarray(values)))]
    return scores_of(values, refs, lost=lost)


def of(known: Scores, *, missed: float = 0.05, parts: Scores | None = None) -> tuple[ModelFile, Calibration]:
    model = parse(calibrate(FRAMES, parts or good(), REQUEST, defects=KnownDefects(known, missed)))
    assert model.card.calibration is not None
    return model, model.card.calibration


def test_defects_below_the_threshold_make_a_review_band_and_three_statements() -> None:
    values = np.linspace(0.3, 2.0, 100)

    model, calibration = of(defects(values))

    # of 100 defects one may pass (5 %, 95 % confidence): the limit is just below the second one, less the tolerance
    assert values[0] < model.review < values[1]
    assert model.review < model.threshold
    assert calibration.misses is not None
    assert (calibration.misses.defects, calibration.misses.missed, calibration.misses.limit) == (100, 1, "review")
    assert calibration.review is not None
    assert calibration.review.source == "defects"
    assert calibration.review.above == int((good().score > model.review).sum())
    assert dict(calibration.further_sentences)["misses"] == (
        "with 95 % confidence at most 5 % of defects like these 100 pass (1 passed)"
    )
    assert "and the bound on missed defects hold as well" in dict(calibration.further_sentences)["review"]


def test_the_joint_confidence_is_the_product_of_both_sides() -> None:
    _, calibration = of(defects(np.linspace(0.3, 2.0, 100)))

    assert calibration.review is not None
    rejects, missed = binom.sf(0, 300, 0.01), binom.sf(1, 100, 0.05)
    assert calibration.review.confidence == pytest.approx(missed * (rejects - 0.01))


def test_defects_that_all_score_above_the_threshold_need_no_review() -> None:
    model, calibration = of(defects(np.linspace(50, 60, 59)))

    assert model.review == model.threshold
    assert calibration.review is None
    assert calibration.misses is not None
    assert (calibration.misses.limit, calibration.misses.missed, calibration.misses.beta) == ("threshold", 0, 0.05)


def test_too_few_defects_are_refused_with_the_number_needed() -> None:
    with pytest.raises(NotEnoughParts, match="expected at least 59 different defects, got 58"):
        of(defects(np.linspace(0.3, 2.0, 58)))


def test_defects_that_are_invalid_or_lost_are_left_out() -> None:
    values = np.linspace(0.3, 2.0, 62)
    values[[5, 6]] = np.nan

    _, calibration = of(defects(values, lost=(61,)))

    assert calibration.misses is not None
    assert calibration.misses.defects == 59


def test_several_frames_of_one_defect_count_once_by_the_worst() -> None:
    values = np.repeat(np.linspace(0.3, 2.0, 59), 2)
    values[1::2] += 1.0
    refs = [Ref(key=f"{place:03}.png", part=f"p{place // 2}", group=f"p{place // 2}") for place in range(118)]

    model, calibration = of(scores_of(values, refs))

    assert calibration.misses is not None
    assert calibration.misses.defects == 59
    assert model.review == model.threshold


def test_a_picture_on_both_sides_is_refused() -> None:
    parts = replace(good(), contents=tuple(f"{place:040}" for place in range(300)))
    known = replace(defects(np.linspace(0.3, 2.0, 60)), contents=("0" * 40, *(f"d{place:039}" for place in range(59))))

    with pytest.raises(CalibrationError, match=r"1 that are in both \(the first: defect000\.png\)"):
        of(known, parts=parts)


def test_one_side_only_sets_the_lower_limit() -> None:
    both = CalibrationRequest(promise=PromiseRequest(false_reject=0.01, review=0.1), date="2026-11-30")
    known = KnownDefects(defects(np.linspace(0.3, 2.0, 60)))

    with pytest.raises(ConfigError, match="expected --review or --review-defects, got both"):
        calibrate(FRAMES, good(), both, defects=known)
    with pytest.raises(ConfigError, match="got one for windows"):
        calibrate(blank_bytes(graph(WINDOW), WINDOW), good(), REQUEST, defects=known)


@settings(max_examples=25, deadline=None)
@given(first=st.floats(0.01, 3.0), count=st.integers(59, 120), missed=st.sampled_from([0.05, 0.1, 0.3]))
def test_no_more_defects_pass_than_allowed_and_the_review_limit_is_never_above_the_threshold(
    first: float, count: int, missed: float
) -> None:
    values = np.linspace(first, first + 1.0, count)

    model, calibration = of(defects(values), missed=missed)

    assert model.review <= model.threshold
    assert calibration.misses is not None
    assert binom.cdf((values <= model.review).sum(), count, missed) <= 0.05


@pytest.mark.slow
def test_simulated_calibrations_keep_all_three_statements_as_often_as_stated() -> None:
    generator = np.random.default_rng(0)
    kept, stated = 0, 0.0
    draws = 400
    for _ in range(draws):
        parts, bad = generator.normal(0, 1, 320), generator.normal(3, 1, 100)
        model, calibration = of(defects(bad), parts=scores_of(parts))
        assert calibration.review is not None
        from scipy.stats import norm

        rejected, waiting = norm.sf(model.threshold), norm.sf(model.review)
        passing = norm.cdf(model.review - 3)
        kept += rejected <= 0.01 and waiting <= calibration.review.alpha and passing <= 0.05
        stated += calibration.review.confidence / draws
    assert stated < 0.95
    assert binom.cdf(kept, draws, stated) > 0.001
