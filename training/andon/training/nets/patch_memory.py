"""A memory of good patches, and the distance of other patches to it, scaled by how densely the memory is filled there.

The distance from a patch x to a stored row b is ``|x - b| / r_b ** density``. The radius r_b is the mean distance of b to
its 5 nearest other rows. Where good patches vary a lot, r_b is large, so that a rare good patch does not get a large distance.
Where all good patches are nearly equal, a small difference counts. With a density of 0 the distance is Euclidean.

The smallest scaled distance over all rows is one matrix product, with w_b = r_b ** (-2 density):
``|x - b|^2 w_b = [x, 1, |x|^2] . [-2 b w_b, |b|^2 w_b, w_b]``.
"""

import torch
from torch import Generator, Tensor, nn

CHUNK = 256
"""Rows of a memory that are compared at a time.

The intermediate results then stay in the cache, which is three times as fast as all rows at once (28 x 28 cells, 1 000
rows). Comparing in pieces also limits the memory use.
"""
HELD = 4096
"""Upper limit of the sample of rows outside the memory. `fit` scales distances by the mean distance of this sample."""
NEIGHBOURS = 5
"""Number of nearest other rows in the memory. Their mean distance to a row is the radius of the row.

On synthetic defects, 3 or 10 instead of 5 changed the mean AUROC by less than .003.
"""
LOWEST = 0.05
"""Share of the radii, the smallest ones, that are raised to the smallest of the other radii.

Rows with near copies in the memory would otherwise have a radius near 0.
"""
HIGHEST = 0.95
"""Share of the radii that keep their value; larger ones are lowered to the largest of these.

A single unusual patch in the memory, such as a grain of dust, is far from all other rows. If it kept its large radius, defects
near this row would get small distances.
"""
FLOOR = 0.02
"""Smallest radius, in units of the root mean square distance of patches from their mean.

A smaller radius would make the factor w_b of the row larger. The matrix product in `_nearest` adds numbers of the size
``|b|^2 w_b`` that almost cancel, and float32 would keep few digits of the result.
"""


class PatchMemory(nn.Module):
    """Patches of good parts at one tap, and the scaled distance of other patches to the nearest of them."""

    def __init__(self, channels: int, *, soft: bool = False) -> None:
        """Make an empty memory.

        Args:
            channels: number of features of a patch.
            soft: shorten patches x to ``x / sqrt(|x|^2 + m^2)``, with m the median length of good patches.
        """
        super().__init__()
        self.soft = soft
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(()))
        if soft:
            self.register_buffer("typical_length", torch.ones(()))
        # One column per row b: -2 b w, |b|^2 w and w. The buffer takes the shape of the stored tensor.
        self.register_buffer("bank", torch.zeros(channels + 2, 1))
        # Part and cell of each row, for explanations. No score depends on them, so the model file does not contain them.
        self.register_buffer("origin", torch.zeros(1, 2, dtype=torch.int32))

    def forward(self, planes: Tensor) -> Tensor:
        """Return the distances ``[N, h, w]`` of ``[N, channels, h, w]``."""
        rows = planes.permute(0, 2, 3, 1).flatten(0, 2)
        return self.distance(rows).view(planes.shape[0], planes.shape[2], planes.shape[3])

    def distance(self, rows: Tensor) -> Tensor:
        """Return the distances ``[R]`` of ``[R, channels]``, in units of this memory."""
        return self._nearest((self._softened(rows) - self.get_buffer("center")) * self.get_buffer("scale"))

    def squares(self, rows: Tensor) -> Tensor:
        """Return the squared distances ``[R, M]`` of ``[R, channels]`` to each stored row; rounding may give values below 0."""
        rows = (self._softened(rows) - self.get_buffer("center")) * self.get_buffer("scale")
        lengths = (rows * rows).sum(dim=1, keepdim=True)
        return torch.cat([rows, torch.ones_like(lengths), lengths], dim=1) @ self.get_buffer("bank")

    def stored(self) -> tuple[Tensor, Tensor]:
        """Return the stored rows ``[M, channels]``, centred and scaled, and the factors ``[M]`` of their distances."""
        bank = self.get_buffer("bank")
        return (bank[:-2] / (-2 * bank[-1])).T, bank[-1].sqrt()

    def nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances ``[R]`` of ``[R, channels]``, and part and cell of the nearest stored rows, int32 ``[R, 2]``."""
        asked = (self._softened(rows) - self.get_buffer("center")) * self.get_buffer("scale")
        bank = self.get_buffer("bank")
        found = [(_extended(some) @ bank).min(dim=1) for some in torch.split(asked, CHUNK)]
        squares = torch.cat([some.values for some in found])
        return squares.clamp(min=0.0).sqrt(), self.get_buffer("origin")[torch.cat([some.indices for some in found])]

    def fit(
        self, rows: Tensor, selected: Tensor, *, weight: float, density: float, seed: int, origin: Tensor | None = None
    ) -> None:
        """Store the selected rows, scaled so that the mean distance of the other rows to them is `weight`.

        Args:
            rows: float32 ``[R, channels]``, at least 2.
            selected: places of the core-set, int64.
            weight: weight of the distances.
            density: power of the radius that divides a distance, 0 to 1.
            seed: seed of the random sample of other rows. Its mean distance defines the scale.
            origin: place of the part among the training parts and of the cell in its grid, int32 ``[R, 2]``.
        """
        if self.soft:
            self.typical_length = rows.norm(dim=1).median().clamp(min=1e-12)
        rows = self._softened(rows)
        self.center = rows.mean(dim=0)
        # one scale for all channels, to unit root mean square, so that squares keep their precision in float32
        self.scale = 1 / (rows - self.center).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
        rows = (rows - self.center) * self.scale
        kept = rows[selected.to(rows.device)]
        self.origin = (
            torch.zeros(len(kept), 2, dtype=torch.int32) if origin is None else origin[selected.cpu()].contiguous()
        )
        self.origin = self.origin.to(rows.device)
        factors = radii(kept) ** (-2 * density)
        columns = torch.cat([-2 * kept, (kept * kept).sum(dim=1, keepdim=True), torch.ones_like(kept[:, :1])], dim=1)
        self.bank = (columns * factors[:, None]).T.contiguous()
        others = torch.ones(len(rows), dtype=torch.bool)
        others[selected] = False
        places = others.nonzero().squeeze(1)
        places = places[torch.randperm(len(places), generator=Generator().manual_seed(seed))[:HELD]]
        apart = float(self._nearest(rows[places.to(rows.device)]).mean())
        unit = weight / apart if apart > 0 else weight
        self.bank = self.bank * unit**2

    def _softened(self, rows: Tensor) -> Tensor:
        if not self.soft:
            return rows
        squares = (rows * rows).sum(dim=1, keepdim=True)
        return rows / (squares + self.get_buffer("typical_length").square()).sqrt()

    def _nearest(self, rows: Tensor) -> Tensor:
        """Return the smallest scaled distances of centred and scaled rows."""
        rows = _extended(rows)
        nearest: Tensor | None = None
        for chunk in torch.split(self.get_buffer("bank"), CHUNK, dim=1):
            lowest = (rows @ chunk).amin(dim=1)
            nearest = lowest if nearest is None else torch.minimum(nearest, lowest)
        assert nearest is not None
        return nearest.clamp(min=0.0).sqrt()  # rounding may give values below zero


def _extended(rows: Tensor) -> Tensor:
    """Return ``[x, 1, |x|^2]`` for each row x. Its product with a column of the bank is a scaled squared distance."""
    squares = (rows * rows).sum(dim=1, keepdim=True)
    return torch.cat([rows, torch.ones_like(squares), squares], dim=1)


def radii(kept: Tensor) -> Tensor:
    """Return the radius of each row, float32 ``[M]``: the mean distance to its nearest other rows, limited as above."""
    count = min(NEIGHBOURS, len(kept) - 1)
    if count < 1:
        return torch.ones_like(kept[:, 0])
    wide = kept.double()  # small distances are differences of large squares
    squares = (wide * wide).sum(dim=1)
    found = []
    for begin in range(0, len(wide), CHUNK):
        rows = wide[begin : begin + CHUNK]
        apart = (squares[begin : begin + CHUNK, None] + squares - 2 * rows @ wide.T).clamp(min=0.0)
        own = torch.arange(len(rows), device=kept.device)
        apart[own, own + begin] = torch.inf
        found.append(apart.topk(count, largest=False).values.sqrt().mean(dim=1))
    radius = torch.cat(found)
    lowest = radius.kthvalue(1 + int(LOWEST * (len(radius) - 1))).values
    highest = radius.kthvalue(1 + int(HIGHEST * (len(radius) - 1))).values
    return radius.clamp(max=float(highest)).clamp(min=max(float(lowest), FLOOR)).float()
