"""Find pictures among the good ones that look unlike all others: probably defective parts in the training folder.

The core-set selects the patches that are farthest from all others. Patches of a defective part are therefore nearly always
in the memory, and such a part scores low: its own patches are stored. The score here is cross-fitted. A part is compared only
with stored patches of *other* parts.

Defects that resemble each other would still hide each other. So the search is repeated without the patches of all parts that
were found so far, until it finds no further part.

SoftPatch (Jiang et al., NeurIPS 2022) removes single patches before the core-set. Here whole parts are named, because a
person can look at a part, and because a good part that is rare can be put back by name.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from andon.calibration.outliers import outlying
from andon.training.nets.patch_memory import PatchMemory

SHARE = 0.02
"""Share of a part's drawn patches that counts for its score: those with the largest distances."""
LEAST_PATCHES = 3
ROUNDS = 4
"""Upper limit of repetitions."""
MOST = 0.2
"""Share of the pictures after which the search ends. More of them are a kind of good part rather than single bad ones."""


class Drawn(NamedTuple):
    """Patches of one tap, and which of them its memory has stored."""

    rows: Tensor
    """float32 ``[R, channels]``."""
    pictures: Tensor
    """Place of the picture of each row, int ``[R]``, ascending."""
    selected: Tensor
    """Places of the stored rows, int64 ``[M]``, in the order of the memory."""
    memory: PatchMemory


class Suspect(NamedTuple):
    """A training item that looks unlike the others."""

    place: int
    """Place among the training items."""
    times: float
    """Its score in units of the median score of all items."""


def suspects(taps: Sequence[Drawn], count: int) -> list[Suspect]:
    """Return the suspicious ones of `count` pictures, the oddest first.

    Pictures of which no patch was drawn cannot be suspicious.
    """
    found = torch.zeros(count, dtype=torch.bool)
    scores = torch.zeros(count)
    for _ in range(ROUNDS):
        scores = cross_fitted(taps, found)
        drawn = scores.isfinite()
        now = found.clone()
        now[drawn] |= torch.from_numpy(outlying(scores[drawn].numpy()))
        if torch.equal(now, found) or now.sum() > MOST * count:
            break
        found = now
    median = float(scores[scores.isfinite()].median()) if scores.isfinite().any() else 1.0
    listed = [Suspect(place, float(scores[place]) / max(median, 1e-12)) for place in found.nonzero().flatten().tolist()]
    return sorted(listed, key=lambda suspect: -suspect.times)


def cross_fitted(taps: Sequence[Drawn], without: Tensor) -> Tensor:
    """Return the score of each picture ``[count]``, in units of the map: infinite if there is nothing to compare.

    Args:
        taps: drawn patches of all taps.
        without: bool ``[count]``, pictures whose stored patches are not used at all.
    """
    count = len(without)
    total = torch.zeros(count)
    for tap in taps:
        of_stored = tap.pictures[tap.selected].long()
        ignored = without[of_stored]
        pieces = torch.split(tap.rows, torch.bincount(tap.pictures.long(), minlength=count).tolist())
        for place, rows in enumerate(pieces):
            squares = tap.memory.squares(rows)
            squares[:, (ignored | (of_stored == place)).to(squares.device)] = torch.inf
            kept = min(len(rows), max(LEAST_PATCHES, round(SHARE * len(rows))))
            distances = squares.amin(dim=1).clamp(min=0.0).sqrt() if len(rows) else rows.new_full((1,), torch.inf)
            total[place] += distances.topk(max(1, kept)).values.mean().cpu()
    return total
