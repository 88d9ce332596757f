"""Distances of a point from a cloud of points: Euclidean and Mahalanobis, both computed in the graph.

Source of the shrinkage: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices,
Journal of Multivariate Analysis 88 (2004).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from andon.foundation.extras import needs

RIDGE = 1e-3
"""Share of the mean variance that is added to each variance: directions with noise only must not dominate."""


class Distances(NamedTuple):
    """Squared distances, each ``[N]``."""

    euclid: Tensor
    mahalanobis: Tensor


class Gaussian(nn.Module):
    """Centre and spread of a cloud in `size` dimensions. Before `fit` they are the origin and 1 in every direction."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        # W with W W' = inverse covariance, so that |(x - c) W|^2 is one Gemm. Unused dimensions have zero rows and columns.
        self.register_buffer("whitening", torch.eye(size))

    def forward(self, points: Tensor) -> Distances:
        """Return distances of points ``[N, size]`` from the centre."""
        away = points - self.get_buffer("center")
        white = away @ self.get_buffer("whitening")
        return Distances((away**2).sum(dim=1), (white**2).sum(dim=1))

    def fit(self, points: Tensor, counts: Tensor) -> None:
        """Compute centre and spread from a cloud.

        Args:
            points: ``[n, size]``.
            counts: bool ``[size]``, the dimensions that the Mahalanobis distance uses, at least one.
        """
        with needs("train", "the distance from good parts"):
            from sklearn.covariance import ledoit_wolf
        points = points.cpu().double()  # in this order: MPS does not support float64
        center = points.mean(dim=0)
        # shrunk towards its mean variance in every direction
        covariance = torch.from_numpy(ledoit_wolf(points[:, counts].numpy())[0])
        size = len(covariance)
        ridge = RIDGE * float(covariance.trace()) / size or 1.0  # a cloud without spread: Euclidean distance
        factor = torch.linalg.cholesky(covariance + ridge * torch.eye(size, dtype=torch.float64))
        inverse = torch.linalg.solve_triangular(factor, torch.eye(size, dtype=torch.float64), upper=False)
        whitening = torch.zeros(len(counts), len(counts), dtype=torch.float64)
        whitening[counts.nonzero(), counts.nonzero().T] = inverse.T
        self.get_buffer("center").copy_(center.float())
        self.get_buffer("whitening").copy_(whitening.float())
