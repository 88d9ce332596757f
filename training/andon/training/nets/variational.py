"""The posterior of latent variables: random draws, and its divergence from the prior, the standard normal.

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014).
"""

import torch
from torch import Tensor


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw once from the posterior, so that gradients reach mean and log-variance."""
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()


LEAST_BETA = 1e-3
"""Weight of the KL term below which a variational autoencoder works like a plain one."""


def notes_on_beta(beta: float | None) -> tuple[str, ...]:
    """Return the model file's notes on the weight of the KL term. None means that there is no such term."""
    if beta is None or beta >= LEAST_BETA:
        return ()
    return (f"beta {beta:g}: a plain autoencoder; the prior has no effect",)


def divergence(mean: Tensor, log_variance: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Return the KL divergence of the posterior from the prior, in nat, summed over `dim`. Only rounding makes it negative."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=dim)
