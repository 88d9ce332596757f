"""A posterior of latent numbers: drawing from it, and how far it is from the prior, the standard normal.

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014).
"""

import torch
from torch import Tensor


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Latent numbers of the posterior, one draw each, so that mean and log-variance get gradients."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


LEAST_BETA = 1e-3
"""Weight of the KL term, below which a variational autoencoder is a plain one."""


def notes_on_beta(beta: float | None) -> tuple[str, ...]:
    """Return what a model file says about the weight of the KL term; None: there is no such term."""
    if beta is None or beta >= LEAST_BETA:
        return ()
    return (f"beta {beta:g}: a plain autoencoder, whose prior has no say",)


def divergence(mean: Tensor, log_variance: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """KL divergence of the posterior from the prior, in nat, summed over `dim`; never negative but for rounding."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=dim)
