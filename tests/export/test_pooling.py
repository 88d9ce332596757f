"""The deciding score from evidence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.export.toys import FRAMES, WINDOWS

from andon.export.evidence import Evidence
from andon.export.pooling import Pool, Smooth
from andon.foundation.errors import ConfigError
from andon.runtime.schema import ScoreRule


def _maps(seed: int = 0) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    return Evidence(
        {"a": torch.rand((3, 10, 20), generator=generator), "b": torch.rand((3, 5, 5), generator=generator)}, {}
    )


def test_the_top_share_is_the_mean_of_the_highest_values() -> None:
    evidence = _maps()

    score = Pool(ScoreRule(map="a", pool="top", share=0.05), FRAMES)(evidence)["score"]

    highest = evidence.maps["a"].flatten(1).sort(dim=1, descending=True).values[:, :10]
    assert torch.allclose(score, highest.mean(dim=1))


@given(share=st.floats(0.001, 1.0))
def test_a_top_share_lies_between_mean_and_maximum(share: float) -> None:
    evidence = _maps()

    mean, top, largest = (
        Pool(ScoreRule(map="a", pool=pool, share=share), FRAMES)(evidence)["score"] for pool in ("mean", "top", "max")
    )

    assert (top <= largest + 1e-6).all()
    assert (top >= mean - 1e-6).all()


def test_other_maps_leave_as_further_scores_and_only_the_deciding_one_as_a_map() -> None:
    outputs = Pool(ScoreRule(map="b"), FRAMES)(_maps())

    assert list(outputs) == ["score", "score_a", "anomaly_map"]
    assert outputs["anomaly_map"].shape == (3, 5, 5)


def test_means_of_channels_and_of_steps_of_a_window_both_give_its_score_back() -> None:
    error = torch.rand((4, 16, 2), generator=torch.Generator().manual_seed(1))

    outputs = Pool(ScoreRule(map="error"), WINDOWS)(Evidence({"error": error}, {}))

    assert torch.allclose(outputs["channel_scores"].mean(dim=1), outputs["score"])
    assert torch.allclose(outputs["step_scores"].mean(dim=1), outputs["score"])


def test_a_score_without_a_map_can_decide() -> None:
    evidence = Evidence({}, {"distance": torch.arange(3.0)})

    outputs = Pool(ScoreRule(score="distance"), FRAMES)(evidence)

    assert outputs["score"].tolist() == [0.0, 1.0, 2.0]


def test_a_misspelt_map_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no map 'errr' \(did you mean 'error'\?\)"):
        Pool(ScoreRule(map="errr"), FRAMES)(Evidence({"error": torch.zeros((1, 4, 4))}, {}))


def test_a_reading_names_a_map_or_a_score_and_not_both() -> None:
    with pytest.raises(ConfigError, match="either a map or a score"):
        Pool(ScoreRule(map="a", score="b"), FRAMES)


@given(sigma=st.floats(0.3, 6.0), level=st.floats(-5, 5))
def test_smoothing_leaves_a_flat_map_as_it_is(sigma: float, level: float) -> None:
    flat = torch.full((2, 12, 9), level)

    assert torch.allclose(Smooth(sigma)(flat), flat, atol=1e-4)


def test_smoothing_keeps_the_mass_of_a_point_in_the_middle() -> None:
    point = torch.zeros((1, 31, 31))
    point[0, 15, 15] = 1.0

    smoothed = Smooth(2.0)(point)

    assert smoothed.sum() == pytest.approx(1.0, abs=1e-5)
    assert smoothed[0, 15, 15] == pytest.approx(1 / (2 * torch.pi * 4.0), rel=0.02)
