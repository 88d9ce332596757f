"""Compute the deciding score from evidence by a score rule: select a map, smooth it and pool it."""

import math

import torch
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.export.masks import JudgedCells
from andon.export.tile_grid import TileWindows
from andon.export.tile_masks import JudgedTileCells, TileCells
from andon.foundation.errors import ConfigError
from andon.foundation.settings import nearest
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule, WindowSpec


class Pool(nn.Module):
    """A module that maps evidence to outputs by name. ``score [N]`` is first, then the deciding map and other ``score_*``."""

    def __init__(self, rule: ScoreRule, spec: InputSpec) -> None:
        super().__init__()
        if (rule.map is None) == (rule.score is None):
            raise ConfigError(
                f"score rule: expected either a map or a score, got map={rule.map!r}, score={rule.score!r}."
            )
        self.rule = rule
        self.windows = isinstance(spec, WindowSpec)
        self.cells = JudgedCells(spec)
        self.smooth = Smooth(rule.smooth) if rule.smooth > 0 and not self.windows else nn.Identity()
        self.tiles = TileWindows(spec, spec.tiles) if isinstance(spec, FrameSpec) and spec.tiles is not None else None
        self.tile_cells = JudgedTileCells(spec) if isinstance(spec, FrameSpec) and spec.tiles is not None else None

    def forward(self, evidence: Evidence, excess: Tensor | None = None) -> dict[str, Tensor]:
        """Pool one batch.

        Args:
            evidence: output of the scorer.
            excess: for windows, the distance of each value beyond the clip, ``[N, T, C]`` in standard deviations
                (`PrepareWindows.excess`). Its square is added to each map, and the sum of its squares to each score. The
                scorer sees only clipped values. Without the excess, a window far outside would score like one at the clip.

        Raises:
            ConfigError: the score rule names evidence that the scorer does not give.
        """
        self._check(evidence)
        if excess is not None:
            evidence = _with_excess(evidence, excess**2)
        outputs: dict[str, Tensor] = {}
        deciding = self.rule.map or next(iter(evidence.maps), None)
        for name, raw_map in evidence.maps.items():
            smoothed = self.cells.smoothed(raw_map, self.smooth)
            score = self._pool(self.cells.values(smoothed)) if self.tiles is None else self._worst_tile(smoothed)
            if name == self.rule.map:
                outputs["score"] = score
            else:
                outputs[f"score_{name}"] = score
            if name == deciding:
                outputs |= self._explain(smoothed)
        for name, score in evidence.scores.items():
            outputs["score" if name == self.rule.score else f"score_{name}"] = score
        return {"score": outputs.pop("score"), **outputs}

    def _explain(self, deciding: Tensor) -> dict[str, Tensor]:
        if self.windows:
            return {"channel_scores": deciding.mean(dim=1), "step_scores": deciding.mean(dim=2)}
        return {"anomaly_map": deciding}

    def _worst_tile(self, maps: Tensor) -> Tensor:
        """Pool each tile by the rule, as if it were a frame, and return the largest result.

        In a whole large map, a small defect would be diluted. A share of 1 % of 4096 x 3000 pixels is as large as 350 x 350
        pixels, and a spot hardly changes its mean. By tile, a defect counts as much as in a frame of a tile's size.

        With masks, a tile is pooled over its cells that count. A tile without such a cell never decides.
        """
        assert self.tiles is not None
        assert self.tile_cells is not None
        windows = self.tiles(maps)
        counting = self.tile_cells.of(maps)
        if counting is not None:
            return self._pool_counting(windows.index_select(1, counting.tiles), counting).amax(dim=1)
        return self._pool(windows.flatten(0, 1)).reshape(-1, windows.shape[1]).amax(dim=1)

    def _pool(self, flat: Tensor) -> Tensor:
        """Pool rows of values, ``[N, V]``."""
        if self.rule.pool == "mean":
            return flat.mean(dim=1)
        if self.rule.pool == "max":
            return flat.amax(dim=1)
        count = max(1, round(self.rule.share * flat.shape[1]))
        return flat.topk(count, dim=1).values.mean(dim=1)

    def _pool_counting(self, windows: Tensor, counting: TileCells) -> Tensor:
        """Pool the cells of tiles that count, ``[N, k, h * w]`` to ``[N, k]``. The share is that of the cells that count.

        The means are sums of weighted values. OpenVINO 2026.4 forgets the divisor of a sum that is divided tile by tile.
        """
        if self.rule.pool == "mean":
            used = counting.cells.to(windows.dtype)
            return (windows * (used / used.sum(dim=1, keepdim=True))).sum(dim=2)  # the other cells are 0
        lowest = torch.full((), torch.finfo(windows.dtype).min, dtype=windows.dtype, device=windows.device)
        windows = torch.where(counting.cells, windows, lowest)
        if self.rule.pool == "max":
            return windows.amax(dim=2)
        wanted = [max(1, round(self.rule.share * count)) for count in counting.counts]
        most = max(wanted)
        weights = torch.tensor(
            [[1 / count] * count + [0.0] * (most - count) for count in wanted], device=windows.device
        )
        return (windows.topk(most, dim=2).values * weights).sum(dim=2)

    def _check(self, evidence: Evidence) -> None:
        for wanted, given, kind in (
            (self.rule.map, evidence.maps, "map"),
            (self.rule.score, evidence.scores, "score"),
        ):
            if wanted is not None and wanted not in given:
                raise ConfigError(
                    f"the scorer has no {kind} {wanted!r}{nearest(wanted, given)}. Expected one of: "
                    f"{', '.join(given) or 'none'}."
                )


def _with_excess(evidence: Evidence, squares: Tensor) -> Evidence:
    return evidence._replace(
        maps={name: values + squares for name, values in evidence.maps.items()},
        scores={name: values + squares.sum(dim=(1, 2)) for name, values in evidence.scores.items()},
    )


class Smooth(nn.Module):
    """A separable Gaussian filter for maps ``[N, h, w]``. Borders are mirrored; `sigma` is in cells of the map."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.radius = max(1, math.ceil(3 * sigma))
        places = torch.arange(-self.radius, self.radius + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (places / sigma) ** 2)
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Smooth a batch of maps."""
        planes = maps.unsqueeze(1)
        radius = min(self.radius, planes.shape[2] - 1, planes.shape[3] - 1)  # padding must be smaller than the map
        kernel = self.get_buffer("kernel")[self.radius - radius : self.radius + radius + 1]
        kernel = kernel / kernel.sum()
        padded = nn.functional.pad(planes, (radius, radius, radius, radius), mode="reflect")
        rows = nn.functional.conv2d(padded, kernel.view(1, 1, -1, 1))
        return nn.functional.conv2d(rows, kernel.view(1, 1, 1, -1)).squeeze(1)
