"""Combine several scores into one: convert each to its surprise among good parts and take the largest, all in the graph.

The surprise of a score is ``-log p``, where p is the share of good parts with an equal or higher score. Below
the 95th percentile of the good scores, p is the counted share. Above it, the excess is modelled as exponential with the mean
observed there. Therefore scores that no good part reached stay comparable.

The surprise is estimated on the validation set, never on the calibration set. The scores depend on each other, so the
largest surprise is not a p-value. The threshold is calibrated on the combination as on any score.

The maximum is used, not the sum: it rises if one score alone rises. The sum (Fisher) is better only for independent
scores.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from andon.foundation.errors import DataError, TrainingError
from andon.training.recipe.recipe import Part

BATCH = 256
"""Windows per batch."""
PIECES = 33
"""Number of straight pieces of a surprise. The last one is the tail."""
TAIL = 0.05
"""Share of the highest good scores that the exponential is fitted to."""
LEAST_IN_TAIL = 10
"""Smallest number of scores in the tail, but not more than half of all. A mean of two excesses is not reliable."""
STEEPEST = 1e3
"""Limit of the slope: a score that rises by 1/1000 of the tail's start gains at most 1.

Otherwise float32 rounding would decide.
"""
ROUNDING = 1e-5
"""Relative difference below which scores are ties. Whether float32 separates them depends on the machine."""
LEAST_UNIT = 1e-12
"""Lower limit of the scale of a tail. Smaller values come only from rounding. The limit also keeps the slope finite."""


class Combination(nn.Module):
    """The largest surprise of named scores. Before `fit` it is the largest score above 0."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        shape = (len(self.names), PIECES)
        # the surprise is a sum of straight pieces, each from `start` on, `width` wide, rising by `slope`
        slope, width = torch.zeros(shape), torch.zeros(shape)
        slope[:, -1], width[:, -1] = 1.0, torch.finfo(torch.float32).max
        self.register_buffer("start", torch.zeros(shape))
        self.register_buffer("width", width)
        self.register_buffer("slope", slope)

    def forward(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Return ``[N]`` from scores ``[N]`` by name."""
        return self.surprise(scores).amax(dim=1)

    def surprise(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Return ``[N, scores]`` in the order of `names`: 0 up to the lowest good score, and never lower for a higher score."""
        together = torch.stack([scores[name] for name in self.names], dim=1).unsqueeze(2)
        passed = torch.minimum((together - self.get_buffer("start")).clamp(min=0.0), self.get_buffer("width"))
        return (passed * self.get_buffer("slope")).sum(dim=2)

    def fit(self, good: Mapping[str, Tensor], *, steepest: float = STEEPEST) -> None:
        """Estimate the tails from scores ``[n]`` of good parts that were not trained on.

        Args:
            good: the scores by name.
            steepest: limit of the slope. A score that rises by ``1 / steepest`` of the tail's start gains at most 1.

        Raises:
            DataError: fewer than 2 parts.
            TrainingError: scores that are not finite.
        """
        pieces = [_pieces(good[name].cpu().double(), name, steepest) for name in self.names]
        for place, name in enumerate(("start", "width", "slope")):
            buffer = self.get_buffer(name)
            buffer.copy_(torch.stack([piece[place] for piece in pieces]).float())


def scores_over(score: Callable[[Tensor], Mapping[str, Tensor]], part: Part, device: torch.device) -> dict[str, Tensor]:
    """Return the scores that `score` gives over a part, by name, ``[n]`` on the CPU."""
    kept: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for batch in part.batches(BATCH):
            for name, values in score(batch.to(device)).items():
                kept.setdefault(name, []).append(values.cpu())
    if not kept:
        raise DataError(
            "the validation set is empty: expected good parts to combine the scores. Collect more good parts."
        )
    return {name: torch.cat(values) for name, values in kept.items()}


def _pieces(good: Tensor, name: str, steepest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return start, width and slope ``[PIECES]`` of one score's surprise, float64."""
    count = len(good)
    if count < 2:
        raise DataError(f"combining scores needs at least 2 good parts for validation, got {count}. Collect more.")
    if not bool(good.isfinite().all()):
        raise TrainingError(
            f"the score {name} is not finite for {int((~good.isfinite()).sum())} of {count} good parts. The "
            "training may have diverged. Train again with other settings."
        )
    ascending = good.sort().values
    in_tail = max(1, round(TAIL * count), min(LEAST_IN_TAIL, count // 2))
    begins = count - 1 - in_tail
    places = torch.linspace(0, begins, PIECES).round().long()
    start = ascending[places]
    share = (1 + count - torch.searchsorted(ascending, start)) / (
        count + 1
    )  # the p-value of the calibration, which counts the part itself
    width = torch.full((PIECES,), float(torch.finfo(torch.float32).max), dtype=torch.float64)
    slope = torch.full((PIECES,), math.inf, dtype=torch.float64)
    width[:-1] = start.diff()
    slope[:-1] = torch.where(
        width[:-1] > ROUNDING * start[1:].abs(), (-share.log()).diff() / width[:-1], 0.0
    )  # ties have the same surprise
    excess = float((ascending[count - in_tail :] - ascending[begins]).mean())
    slope[-1] = 1 / excess if excess > 0 else math.inf
    unit = float(ascending[begins].abs()) or float(ascending.abs().max())
    return start, width, slope.clamp(max=steepest / max(unit, LEAST_UNIT))
