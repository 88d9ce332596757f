"""A few rows that lie near all others: the greedy k-centre core-set, in a random projection.

Each row chosen is the one farthest from those already chosen, so that no row is farther from the core-set than twice the
best possible. Sources: Gonzalez, Theoretical Computer Science 38 (1985); Sener and Savarese, ICLR 2018; Roth et al.,
CVPR 2022, who choose in a projection. 64 dimensions chose as well as 128 in a third of the time.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from andon.foundation.progress import Progress, silent

PROJECTED = 64


def k_centre(rows: Tensor, count: int, *, seed: int, progress: Progress = silent, what: str = "core-set") -> Tensor:
    """Places of `count` rows (of all, where there are fewer), int64, in the order in which they were chosen.

    Args:
        rows: float32 ``[R, C]``, on any device.
        count: at least 1.
        seed: of the projection and of the first row.
        progress: told under the name `what`.

    An iteration is one product of a matrix with a vector: ``|x - c|^2 = |x|^2 - 2 x.c + |c|^2``, and the smallest
    ``|c|^2 - 2 x.c`` so far is kept without the ``|x|^2`` that is the same for every c. Quickest within `one_thread`.
    """
    generator = Generator().manual_seed(seed)
    points = _projected(rows, generator)
    squares = (points * points).sum(dim=1)
    nearest = torch.full_like(squares, torch.inf)
    candidate = torch.empty_like(squares)
    count = min(count, len(points))
    chosen = torch.empty(count, dtype=torch.int64)
    place = int(torch.randint(len(points), (), generator=generator))
    for done in range(count):
        chosen[done] = place
        torch.addmv(squares[place].expand(len(points)), points, points[place], alpha=-2.0, out=candidate)
        torch.minimum(nearest, candidate, out=nearest)
        nearest[place] = -torch.inf  # never twice, even where rows are equal
        torch.add(nearest, squares, out=candidate)
        place = int(candidate.argmax())
        if (done + 1) % 100 == 0 or done + 1 == count:
            progress(what, done + 1, count)
    return chosen


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, PyTorch computes with one thread: for `k_centre`, whose loop waits for memory, not for cores, and whose steps are
    so short that on a busy machine two threads, which wait for each other at each, took twenty times as long.

    The number is the whole process's: entered once, around all that run side by side, or one of them would take another's
    1 for what was before.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _projected(rows: Tensor, generator: Generator) -> Tensor:
    """Centred, so that large squares do not swallow small distances; narrower where they are wide."""
    centred = rows - rows.mean(dim=0)
    if rows.shape[1] <= PROJECTED:
        return centred
    # drawn on the CPU: the same on every device
    directions = torch.randn((rows.shape[1], PROJECTED), generator=generator) / PROJECTED**0.5
    projected: Tensor = centred @ directions.to(rows.device)
    return projected
