"""Dissimilarity of two pictures, and the losses computed from it."""

import pytest
import torch
from pytorch_msssim import ms_ssim, ssim

from andon.foundation.errors import ConfigError
from andon.training.nets.ssim import Dissimilarity, LossWeights, rebuilding_loss


def test_ssim_agrees_with_an_independent_one_away_from_the_border() -> None:
    one = torch.rand(2, 3, 48, 64)
    other = (one + 0.2 * torch.randn_like(one)).clamp(0, 1)

    mine = 1 - Dissimilarity(3)(one, other)[:, :, 5:-5, 5:-5].mean(dim=(1, 2, 3))

    assert torch.allclose(mine, ssim(one, other, data_range=1.0, size_average=False), atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_frames_that_look_the_same_are_not_dissimilar(level: float) -> None:
    frame = torch.full((1, 1, 32, 32), level)

    assert Dissimilarity(1)(frame, frame.clone()).abs().max() == 0


def test_the_border_draws_no_frame_into_a_map() -> None:
    one = torch.rand(1, 1, 64, 64)
    apart = Dissimilarity(1)(one, (one + 0.1 * torch.randn_like(one)).clamp(0, 1))
    border = torch.cat([apart[..., :3].flatten(), apart[..., -3:].flatten()])

    assert border.mean() == pytest.approx(float(apart[..., 10:-10, 10:-10].mean()), rel=0.5)


def test_small_differences_keep_their_digits() -> None:
    """Check small differences on bright flat frames.

    The textbook's form has an error of some 1e-4 there, by cancellation: a hundredth of its value.
    """
    one = 0.9 + 0.01 * torch.rand(1, 1, 32, 32)
    other = one + 0.001 * torch.randn_like(one)
    in_double = Dissimilarity(1).double()(one.double(), other.double())

    assert torch.allclose(Dissimilarity(1)(one, other).double(), in_double, rtol=1e-3, atol=1e-6)


def test_a_defect_shows_where_it_is() -> None:
    one = torch.full((1, 3, 64, 64), 0.5)
    other = one.clone()
    other[:, :, 20:28, 40:48] = 0.9
    where = Dissimilarity(3)(one, other).mean(dim=1)[0]

    assert where[24, 44] > 0.1
    assert where[50, 10] == 0


def test_a_loss_is_the_weighted_sum_of_its_measures() -> None:
    one, other = torch.rand(2, 2, 3, 112, 112)
    weights = LossWeights(l1=1.0, mse=2.0, ssim=0.5, ms_ssim=0.25)
    expected = (
        (one - other).abs().mean()
        + 2.0 * ((one - other) ** 2).mean()
        + 0.5 * Dissimilarity(3)(one, other).mean()
        + 0.25 * (1 - ms_ssim(one, other, data_range=1.0, win_size=7))
    )

    assert torch.allclose(rebuilding_loss(one, other, weights, Dissimilarity(3)), expected, atol=1e-6)


def test_emphasis_moves_weight_between_pixels_and_not_the_sum() -> None:
    one, other = torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 0.5)
    emphasis = torch.ones(1, 1, 16, 16)
    emphasis[..., :4] = 9.0
    only_there = other.clone()
    only_there[..., 4:] = 0.0
    weights = LossWeights(l1=1.0)

    assert rebuilding_loss(one, other, weights, Dissimilarity(1), emphasis) == pytest.approx(0.5)
    emphasised = rebuilding_loss(one, only_there, weights, Dissimilarity(1), emphasis)
    assert emphasised == pytest.approx(3 * float(rebuilding_loss(one, only_there, weights, Dissimilarity(1))))


def test_a_loss_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs one weight above 0"):
        LossWeights().check(128)


def test_ms_ssim_of_small_pictures_is_refused_with_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"more than 96 px a side, got 96.*--loss-ssim"):
        LossWeights(ms_ssim=1.0).check(96)
    LossWeights(ms_ssim=1.0).check(104)
