"""Several scores as one: each as its surprise among good parts, the largest decides. All of it is in the graph.

The surprise of a score is ``-log p``, p the share of good parts that score at least this. Up to the 95th percentile p is
counted, beyond it the excess is taken as exponential with the mean that it has there, so that scores which no good part
reached stay comparable. It is learnt from the validation part, never from the calibration part; the scores depend on each
other, so the largest surprise is no p-value, and the threshold is calibrated on the combination like on any score.

The maximum, not the sum: it rises where one score alone does, and the sum (Fisher) only pays for independent ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from andon.foundation.errors import DataError, TrainingError
from andon.training.recipe.recipe import Part

BATCH = 256
"""Windows scored at a time."""
PIECES = 33
"""Straight pieces of a surprise; the last is the tail."""
TAIL = 0.05
"""Share of the highest good scores whose excess is fitted."""
LEAST_IN_TAIL = 10
"""But no fewer scores than this, or half of them: a mean of two excesses says nothing."""
STEEPEST = 1e3
"""A score that rises by a thousandth of the tail's beginning gains a surprise of one at most, or float32 would decide."""
ROUNDING = 1e-5
"""Scores that differ by less than this share of their size are ties: whether float32 tells them apart depends on the machine."""
LEAST_UNIT = 1e-12
"""A tail that begins below this is rounding; and what is finite must stay so."""


class Combination(nn.Module):
    """The largest surprise of named scores; before it has learnt, the largest score above 0."""

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
        """``[N]`` from scores ``[N]`` by name."""
        return self.surprise(scores).amax(dim=1)

    def surprise(self, scores: Mapping[str, Tensor]) -> Tensor:
        """``[N, scores]``, in the order of `names`: 0 up to the lowest good score, never falling."""
        together = torch.stack([scores[name] for name in self.names], dim=1).unsqueeze(2)
        passed = torch.minimum((together - self.get_buffer("start")).clamp(min=0.0), self.get_buffer("width"))
        return (passed * self.get_buffer("slope")).sum(dim=2)

    def fit(self, good: Mapping[str, Tensor]) -> None:
        """Take the tails from scores ``[n]`` of good parts that were not trained on.

        Raises:
            DataError: fewer than 2 of them.
            TrainingError: scores that are not finite.
        """
        pieces = [_pieces(good[name].cpu().double(), name) for name in self.names]
        for place, name in enumerate(("start", "width", "slope")):
            buffer = self.get_buffer(name)
            buffer.copy_(torch.stack([piece[place] for piece in pieces]).float())


def scores_over(score: Callable[[Tensor], Mapping[str, Tensor]], part: Part, device: torch.device) -> dict[str, Tensor]:
    """What `score` gives over a part, by name ``[n]``, on the CPU."""
    kept: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for batch in part.batches(BATCH):
            for name, values in score(batch.to(device)).items():
                kept.setdefault(name, []).append(values.cpu())
    if not kept:
        raise DataError("the validation part is empty, and scores are combined by it: collect more good parts.")
    return {name: torch.cat(values) for name, values in kept.items()}


def _pieces(good: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Start, width and slope ``[PIECES]`` of one score's surprise, float64."""
    count = len(good)
    if count < 2:
        raise DataError(f"scores are combined by at least 2 good parts for validation, got {count}: collect more.")
    if not bool(good.isfinite().all()):
        raise TrainingError(f"{int((~good.isfinite()).sum())} of {count} good parts score {name} not finite.")
    ascending = good.sort().values
    in_tail = max(1, round(TAIL * count), min(LEAST_IN_TAIL, count // 2))
    begins = count - 1 - in_tail
    places = torch.linspace(0, begins, PIECES).round().long()
    start = ascending[places]
    share = (1 + count - torch.searchsorted(ascending, start)) / (count + 1)  # the calibration's p: itself counts
    width = torch.full((PIECES,), float(torch.finfo(torch.float32).max), dtype=torch.float64)
    slope = torch.full((PIECES,), math.inf, dtype=torch.float64)
    width[:-1] = start.diff()
    slope[:-1] = torch.where(
        width[:-1] > ROUNDING * start[1:].abs(), (-share.log()).diff() / width[:-1], 0.0
    )  # ties share a surprise
    excess = float((ascending[count - in_tail :] - ascending[begins]).mean())
    slope[-1] = 1 / excess if excess > 0 else math.inf
    unit = float(ascending[begins].abs()) or float(ascending.abs().max())
    return start, width, slope.clamp(max=STEEPEST / max(unit, LEAST_UNIT))
