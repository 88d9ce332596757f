"""Distances from a cloud of points."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from andon.training.nets.gaussian import RIDGE, Gaussian


def cloud(count: int, size: int, seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, size)) @ generator.normal(size=(size, size)) + generator.normal(size=size)
    return torch.from_numpy(mixed)


def learnt(points: torch.Tensor, counts: list[bool] | None = None) -> Gaussian:
    gaussian = Gaussian(points.shape[1])
    gaussian.fit(points, torch.tensor(counts or [True] * points.shape[1]))
    return gaussian


@given(st.integers(3, 60), st.integers(1, 8), st.integers(0, 10**6))
def test_the_mahalanobis_distance_is_that_of_scipy(count: int, size: int, seed: int) -> None:
    points, asked = cloud(count, size, seed), cloud(5, size, seed + 1).float()
    covariance = ledoit_wolf(points.numpy())[0]
    covariance += RIDGE * np.trace(covariance) / size * np.eye(size)
    center, inverse = points.mean(dim=0).numpy(), np.linalg.inv(covariance)

    expected = [mahalanobis(row, center, inverse) ** 2 for row in asked.double().numpy()]

    assert learnt(points)(asked).mahalanobis.numpy() == pytest.approx(expected, rel=2e-3)


def test_the_euclidean_distance_is_squared_and_from_the_centre() -> None:
    points = torch.tensor([[0.0, 0.0], [2.0, 4.0]])

    assert learnt(points)(torch.tensor([[4.0, 6.0]])).euclid.tolist() == [25]


def test_a_dimension_that_does_not_count_is_left_out_of_mahalanobis_alone() -> None:
    points, asked = cloud(40, 3, 0), torch.zeros(2, 3)
    asked[1, 1] = 100.0

    distances = learnt(points, [True, False, True])(asked)

    assert distances.mahalanobis[0] == distances.mahalanobis[1]
    assert distances.euclid[0] < distances.euclid[1]


def test_a_direction_that_holds_only_noise_does_not_explode() -> None:
    points = torch.stack([torch.linspace(-1, 1, 50), 1e-9 * torch.linspace(-1, 1, 50) ** 2], dim=1)

    asked = torch.tensor([[0.0, 0.01]])

    assert learnt(points)(asked).mahalanobis < 1


def test_a_cloud_without_spread_measures_as_euclid() -> None:
    distances = learnt(torch.ones(5, 2))(torch.tensor([[4.0, 5.0]]))

    assert distances.mahalanobis == pytest.approx(distances.euclid)


def test_points_of_the_cloud_lie_as_many_variances_away_as_it_has_dimensions() -> None:
    points = torch.from_numpy(np.random.default_rng(3).normal(size=(4000, 5))) * torch.arange(1.0, 6.0) + 40

    assert learnt(points)(points.float()).mahalanobis.mean().item() == pytest.approx(5, rel=0.05)
