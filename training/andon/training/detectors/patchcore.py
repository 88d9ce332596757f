"""Distance of each patch to the nearest patch of good parts, in the features of a frozen network. Nothing is trained.

Suitable with a few dozen good parts, for textures and for parts in similar positions, and for defects that look unlike
anything good: scratches, dents, stains, missing pieces. Not suitable for defects that are wrong only by place or number
(a second label, a part turned round), or for defects smaller than a few cells of its grid. `fine` finds smaller defects
than `fast`.

Source: Roth et al., Towards Total Recall in Industrial Anomaly Detection (CVPR 2022). This implementation differs in
these points:

* There is one memory per tap, on the tap's own grid. Distances are added; features are not concatenated.
* There is no average over 3 x 3 cells.
* There is no re-weighting by neighbours, as in the authors' own code.
* The score is the mean of the highest hundredth of the map, not its maximum.

The presets were chosen on ten sets of good parts with nine families of drawn defects, never on real defects. These sets
are hard on purpose. The mean AUROC over all sets was .73 for `fast`, .80 for `fine` with 40 000 candidates, and another
.01 more with 80 000. The preset has 50 000, which keeps a fit within a minute. Gains: one memory per tap instead of
concatenated features +.02, no average +.03, highest hundredth instead of maximum +.01, 512 instead of 224 px +.05.
Figures on real test folders, which were looked at only after the choice: docs/results.md.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal, NamedTuple

import torch
from msgspec import Meta, Struct
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import ConfigError, DataError, TrainingError
from andon.foundation.progress import silent, track
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule, Weights
from andon.sources.collection import Found, FoundFrames
from andon.training.nets.backbones import (
    MEAN,
    MULTIPLE,
    SCALE,
    BackboneName,
    build_backbone,
    check_taps,
    load_pretrained,
    taps_of,
    weights_record,
)
from andon.training.nets.core_set import k_centre, one_thread
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.top_share import check_share

logger = logging.getLogger(__name__)

CHUNK = 256
"""Rows of a memory that are compared at a time.

The intermediate results then stay in the cache, which is three times as fast as all rows at once (28 x 28 cells, 1 000
rows). It also limits the memory use.
"""
BATCH = 2
"""Pictures per step of the fit. Larger batches took longer per picture, because they exceed the cache."""
HELD = 4096
"""Largest number of rows outside the memory whose distances to it define the scale of distances."""

_Tap = Annotated[int, Meta(ge=0)]
_Weight = Annotated[float, Meta(gt=0.0)]
_PRESET = "; none: as in the preset"


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `patchcore`. None means the preset's value. A preset changes only with a new version of the recipe."""

    preset: Annotated[
        Literal["fast", "fine"],
        Meta(
            description=(
                "fast: 224 px, about 20 ms for a 1080p frame on one CPU core. fine: 512 px, about 100 ms, finds "
                "smaller defects"
            )
        ),
    ] = "fine"
    backbone: Annotated[BackboneName, Meta(description="frozen network that computes the features")] = (
        "efficientnet_lite0"
    )
    weights: Annotated[
        str | None,
        Meta(
            description="weights of the backbone, a .pth file of torchvision; those of efficientnet_lite0 are installed"
        ),
    ] = None
    download: Annotated[bool, Meta(description="download torchvision's weights if they are not on this machine")] = (
        False
    )
    size: Annotated[
        Annotated[int, Meta(ge=32, multiple_of=MULTIPLE)] | None,
        Meta(description="side of the square that the network sees, a multiple of 32" + _PRESET, extra={"unit": "px"}),
    ] = None
    taps: Annotated[
        Annotated[tuple[_Tap, ...], Meta(min_length=1)] | None,
        Meta(
            description=(
                "layers from which features are taken, ascending: blocks 0 to 15 of efficientnet_lite0, layers 1 to 4 of the "
                "others" + _PRESET
            )
        ),
    ] = None
    tap_weights: Annotated[
        Annotated[tuple[_Weight, ...], Meta(min_length=1)] | None,
        Meta(description="weight of each tap's distances" + _PRESET),
    ] = None
    memory_mb: Annotated[
        Annotated[float, Meta(gt=0.0, le=1000.0)] | None,
        Meta(
            description="size of all memories together in the file, with the same number of rows for each tap"
            + _PRESET,
            extra={"unit": "MB"},
        ),
    ] = None
    candidates: Annotated[
        Annotated[int, Meta(ge=2)] | None,
        Meta(
            description="patches drawn from all good parts, from which a memory is selected" + _PRESET,
            extra={"unit": "patches"},
        ),
    ] = None
    average: Annotated[
        Literal[1, 3], Meta(description="side of the local mean over features; 1: no mean", extra={"unit": "cells"})
    ] = 1
    smooth: Annotated[
        float,
        Meta(
            ge=0.0,
            le=0.2,
            description="standard deviation of the Gaussian that smooths the map",
            extra={"unit": "sides of the picture"},
        ),
    ] = 0.01
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map becomes a score")] = "top"
    share: Annotated[
        float, Meta(gt=0.0, le=1.0, description="share of the map's highest values that ``top`` averages")
    ] = 0.01


class Plan(NamedTuple):
    """Settings with the preset filled in."""

    size: int
    taps: tuple[int, ...]
    tap_weights: tuple[float, ...]
    memory_mb: float
    candidates: int


_PRESETS = {
    "fast": Plan(size=224, taps=(4, 7), tap_weights=(2.0, 1.0), memory_mb=0.49, candidates=15_000),
    "fine": Plan(size=512, taps=(7, 10), tap_weights=(1.0, 1.0), memory_mb=2.33, candidates=50_000),
}
"""Presets with memories of 1 000 and 3 000 rows per tap."""
_RESNET_TAPS = (2, 3)
"""Layers of the published figures. They were not measured here."""


def plan_of(settings: Settings) -> Plan:
    """Return the settings with the preset's values filled in.

    Raises:
        ConfigError: the number of weights differs from the number of taps, or a tap does not exist in the backbone.
    """
    preset = _PRESETS[settings.preset]
    default_taps = preset.taps if settings.backbone == "efficientnet_lite0" else _RESNET_TAPS
    taps = default_taps if settings.taps is None else settings.taps
    tap_weights = settings.tap_weights
    if tap_weights is None:
        tap_weights = preset.tap_weights if taps == preset.taps else (1.0,) * len(taps)
    if len(tap_weights) != len(taps):
        raise ConfigError(
            f"--tap-weights: expected one for each of the {len(taps)} taps {taps}, got {len(tap_weights)}."
        )
    check_taps(settings.backbone, taps)
    return Plan(
        size=settings.size or preset.size,
        taps=taps,
        tap_weights=tap_weights,
        memory_mb=settings.memory_mb or preset.memory_mb,
        candidates=settings.candidates or preset.candidates,
    )


class PatchCore(Scorer):
    """A scorer from ``[N, C, h, w]`` to the map ``distance``, in units of the mean distance of good patches.

    The map has the grid of the finest tap.
    """

    def __init__(self, settings: Settings, channels: int) -> None:
        super().__init__()
        plan = plan_of(settings)
        known = taps_of(settings.backbone)
        self.average = settings.average
        self.side = _side(settings)
        self.backbone = build_backbone(settings.backbone, plan.taps, channels)
        self.memories = nn.ModuleList(Memory(known[tap].channels) for tap in plan.taps)

    def features(self, prepared: Tensor) -> list[Tensor]:
        """Return the features of each tap, ``[N, channels, h, w]``."""
        features: list[Tensor] = self.backbone(prepared)
        if self.average > 1:
            side = self.average
            pool = nn.AvgPool2d(side, stride=1, padding=side // 2, count_include_pad=False)
            features = [pool(planes) for planes in features]
        return features

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the map: the weighted mean of the distances to each tap's memory; coarser grids are resized to the finest."""
        total: Tensor | None = None
        for planes, memory in zip(self.features(prepared), self.memories, strict=True):
            distance = memory(planes).unsqueeze(1)
            if distance.shape[2] != self.side:
                distance = nn.functional.interpolate(distance, (self.side, self.side), mode="bilinear")
            total = distance if total is None else total + distance
        assert total is not None
        return Evidence({"distance": total.squeeze(1)}, {})


class Memory(nn.Module):
    """Patches of good parts at one tap, and the distance of other patches to the nearest of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(()))
        # One column per row b of the memory: -2 b, and |b|^2 as one more feature, so that one product gives
        # |b|^2 - 2 x.b. The buffer takes the shape of the stored tensor.
        self.register_buffer("bank", torch.zeros(channels + 1, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """Return the distances ``[N, h, w]`` of ``[N, channels, h, w]``."""
        rows = planes.permute(0, 2, 3, 1).flatten(0, 2)
        return self.distance(rows).view(planes.shape[0], planes.shape[2], planes.shape[3])

    def distance(self, rows: Tensor) -> Tensor:
        """Return the distances ``[R]`` of ``[R, channels]``, in units of this memory."""
        rows = (rows - self.get_buffer("center")) * self.get_buffer("scale")
        squares = (rows * rows).sum(dim=1)
        rows = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
        nearest: Tensor | None = None
        for chunk in torch.split(self.get_buffer("bank"), CHUNK, dim=1):
            lowest = (rows @ chunk).amin(dim=1)
            nearest = lowest if nearest is None else torch.minimum(nearest, lowest)
        assert nearest is not None
        return (squares + nearest).clamp(min=0.0).sqrt()  # rounding may give values below zero

    def fit(self, rows: Tensor, selected: Tensor, weight: float, seed: int) -> None:
        """Store the selected rows, scaled so that the mean distance of the other rows to them is `weight`.

        Args:
            rows: float32 ``[R, channels]``, at least 2.
            selected: places of the core-set, int64.
            weight: weight of the distances.
            seed: seed of the draw of other rows, whose distances define the scale.
        """
        center = rows.mean(dim=0)
        # one scale for all channels, to unit root mean square, so that squares keep their precision in float32
        scale = 1 / (rows - center).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
        rows = (rows - center) * scale
        kept = rows[selected.to(rows.device)]
        self._remember(center, scale, kept)
        others = torch.ones(len(rows), dtype=torch.bool)
        others[selected] = False
        places = others.nonzero().squeeze(1)
        places = places[torch.randperm(len(places), generator=Generator().manual_seed(seed))[:HELD]]
        apart = self.distance(rows[places.to(rows.device)] / scale + center).mean()
        unit = weight / float(apart) if float(apart) > 0 else weight
        self._remember(center, scale * unit, kept * unit)

    def _remember(self, center: Tensor, scale: Tensor, kept: Tensor) -> None:
        self.center, self.scale = center.clone(), scale.clone()
        self.bank = torch.cat([-2 * kept, (kept * kept).sum(dim=1, keepdim=True)], dim=1).T.contiguous()


def fit(scorer: PatchCore, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Draw patches in one pass over the good parts with bounded memory, then select a core-set for each tap."""
    plan = plan_of(settings)
    load_pretrained(scorer.backbone, path=settings.weights, download=settings.download)
    scorer.eval()
    with torch.no_grad():
        drawn = draw(scorer, good.train, plan.candidates, context)
        numbers_a_row = sum(rows.shape[1] + 1 for rows in drawn)
        count = max(1, round(1e6 * plan.memory_mb / (4 * numbers_a_row)))
        for tap, rows, selected, weight, memory in zip(
            plan.taps, drawn, choose(drawn, count, context), plan.tap_weights, scorer.memories, strict=True
        ):
            assert isinstance(memory, Memory)
            memory.fit(rows, selected, weight / sum(plan.tap_weights), context.seed)
            logger.info("tap %d: stored %d of %d patches", tap, memory.get_buffer("bank").shape[1], len(rows))


def choose(drawn: Sequence[Tensor], count: int, context: FitContext) -> list[Tensor]:
    """Return the core-set of each tap: places of at most `count` rows and at most half of them.

    The taps run in parallel, because the selection of each tap is serial.
    """
    reports = (context.progress, *[silent] * (len(drawn) - 1))  # one progress line is enough for all
    with one_thread(), ThreadPoolExecutor(len(drawn)) as pool:
        tasks = [
            pool.submit(
                k_centre, rows, min(count, len(rows) // 2), seed=context.seed, progress=progress, what="core-sets"
            )
            for rows, progress in zip(drawn, reports, strict=True)
        ]
        return [task.result() for task in tasks]


def draw(scorer: PatchCore, part: Part, candidates: int, context: FitContext) -> list[Tensor]:
    """Return for each tap at most `candidates` patches ``[R, channels]`` at random places, equally many from each picture.

    Memory contains these patches and one batch, for any number of pictures.

    Raises:
        TrainingError: the features are not finite.
    """
    generator = Generator().manual_seed(context.seed)
    # equally many from each picture, the remainder from random ones; with fewer candidates than pictures some give none
    share, left = divmod(candidates, len(part))
    quotas = torch.full((len(part),), share)
    quotas[torch.randperm(len(part), generator=generator)[:left]] += 1
    drawn: list[list[Tensor]] = [[] for _ in scorer.memories]
    steps = math.ceil(len(part) / BATCH)
    done = 0
    for batch in track(part.batches(BATCH), context.progress, "features", steps):
        wanted = quotas[done : done + len(batch)].tolist()
        done += len(batch)
        if not any(wanted):
            continue
        # channels last takes half the time on a CPU
        features = scorer.features(batch.to(context.device, memory_format=torch.channels_last))
        for kept, planes in zip(drawn, features, strict=True):
            for count, rows in zip(wanted, planes.flatten(2).transpose(1, 2), strict=True):
                places = torch.randperm(len(rows), generator=generator)[:count]
                kept.append(rows[places.to(rows.device)])
    result = [torch.cat(rows) for rows in drawn]
    if not all(bool(rows.isfinite().all()) for rows in result):
        raise TrainingError("the backbone's features are not finite. Its weights are damaged: replace the file.")
    return result


def _side(settings: Settings) -> int:
    """Return the side of the map in cells."""
    plan, known = plan_of(settings), taps_of(settings.backbone)
    return plan.size // min(known[tap].stride for tap in plan.taps)


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise DataError("patchcore judges frames.")
    check_share(settings)
    size = plan_of(settings).size
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(size, size), mean=MEAN, scale=SCALE)


def _build(settings: Settings, spec: InputSpec) -> PatchCore:
    if not isinstance(spec, FrameSpec):
        raise DataError("patchcore judges frames.")
    return PatchCore(settings, spec.channels)


def _score_rule(settings: Settings) -> ScoreRule:
    return ScoreRule(map="distance", pool=settings.pool, share=settings.share, smooth=settings.smooth * _side(settings))


def _weights(settings: Settings) -> tuple[Weights, ...]:
    return (weights_record(settings.backbone, settings.weights),)


RECIPE = Recipe(
    name="patchcore",
    summary="frames: distance of patches to those of good parts, in the features of a pretrained network",
    settings=Settings,
    tiny=Settings(preset="fast", size=64, taps=(4,), memory_mb=0.02, candidates=600),
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
    uses_validation=False,
    weights=_weights,
)
