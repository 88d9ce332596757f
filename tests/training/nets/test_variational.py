"""Draws from a posterior, and its distance from the standard normal."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from andon.training.nets.variational import divergence, drawn


def test_the_divergence_is_that_of_kingma_and_welling_summed_over_what_is_named() -> None:
    mean, log_variance = torch.full((2, 5, 3), 2.0), torch.full((2, 5, 3), math.log(0.25))
    each = 0.5 * (4 + 0.25 - 1 - math.log(0.25))

    assert divergence(mean, log_variance, dim=(1, 2)).tolist() == pytest.approx([15 * each] * 2)
    assert divergence(mean, log_variance, dim=0).tolist() == [pytest.approx([2 * each] * 3)] * 5


@given(st.floats(-9.0, 9.0), st.floats(-9.0, 9.0))
def test_the_divergence_is_nothing_at_the_prior_and_more_everywhere_else(mean: float, log_variance: float) -> None:
    apart = divergence(torch.tensor([[mean]]), torch.tensor([[log_variance]]), dim=1).item()

    assert apart >= -1e-6
    assert divergence(torch.zeros(1, 1), torch.zeros(1, 1), dim=1).item() == 0


def test_draws_have_the_mean_and_spread_of_the_posterior_and_pass_gradients_on() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.tensor(3.0, requires_grad=True), torch.tensor(math.log(4.0), requires_grad=True)

    made = drawn(mean.expand(100_000), log_variance.expand(100_000))
    made.square().mean().backward()  # type: ignore[no-untyped-call]

    assert made.mean().item() == pytest.approx(3.0, abs=0.03)
    assert made.std().item() == pytest.approx(2.0, abs=0.03)
    assert mean.grad is not None
    assert mean.grad.item() == pytest.approx(6.0, abs=0.1)  # of mean ** 2 + variance
    assert log_variance.grad is not None
    assert log_variance.grad.item() == pytest.approx(4.0, abs=0.2)
