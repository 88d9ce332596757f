"""Distance of each patch to the nearest patch of good parts, in the features of a frozen network: nothing is trained.

Works with a few dozen good parts, on textures and on parts that lie more or less alike, for defects that look unlike
anything good: scratches, dents, stains, missing pieces. Does not see what is wrong only by its place or number (a second
label, a part turned round), nor what is smaller than a few cells of its grid: `fine` sees smaller things than `fast`.

Source: Roth et al., Towards Total Recall in Industrial Anomaly Detection (CVPR 2022). Here, other than there: one memory
for each tap, on its own grid, and the distances are added, not the features joined; no average over 3 x 3 cells, no
re-weighting by neighbours (the authors' own code has none); the score is the mean of the highest hundredth of the map,
not its maximum.

Chosen on ten sets of good parts with nine families of drawn defects, never on real defects; mean AUROC over all sets: .73
for `fast`, .80 for `fine` with 40 000 candidates, another .01 with 80 000 (these sets are meant to be hard); 50 000 is what
a minute of fitting allows. One memory a tap against joined features +.02, no average +.03, highest hundredth against
maximum +.01, 224 to 512 px +.05. Figures on real test folders, looked at after the choice: docs/results.md.
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
"""Rows of a memory that are compared at a time: what is to be reduced then stays in the cache, three times as fast as all
at once (28 x 28 cells, 1 000 rows), and memory for it stays bounded."""
BATCH = 2
"""Pictures a step of the fit: more of them at a time took longer each, for want of cache."""
HELD = 4096
"""Rows that are not in the memory, at most, by whose distances to it distances are scaled."""

_Tap = Annotated[int, Meta(ge=0)]
_Weight = Annotated[float, Meta(gt=0.0)]
_PRESET = "; as the preset says where not given"


class Settings(Struct, frozen=True, kw_only=True):
    """Of `patchcore`. What is None is as the preset says; a preset never changes without a new version of the recipe."""

    preset: Annotated[
        Literal["fast", "fine"],
        Meta(
            description="fast: 224 px, about 20 ms for a 1080p frame on one CPU core; fine: 512 px, about 100 ms, sees "
            "smaller defects"
        ),
    ] = "fine"
    backbone: Annotated[BackboneName, Meta(description="the frozen network that gives the features")] = (
        "efficientnet_lite0"
    )
    weights: Annotated[
        str | None,
        Meta(description="its weights, a .pth file of torchvision's; those of efficientnet_lite0 are installed"),
    ] = None
    download: Annotated[bool, Meta(description="fetch torchvision's weights where there are none here")] = False
    size: Annotated[
        Annotated[int, Meta(ge=32, multiple_of=MULTIPLE)] | None,
        Meta(description="side of what the network sees, a multiple of 32" + _PRESET, extra={"unit": "px"}),
    ] = None
    taps: Annotated[
        Annotated[tuple[_Tap, ...], Meta(min_length=1)] | None,
        Meta(
            description="where features are taken, ascending: blocks 0 to 15 of efficientnet_lite0, layers 1 to 4 of the "
            "others" + _PRESET
        ),
    ] = None
    tap_weights: Annotated[
        Annotated[tuple[_Weight, ...], Meta(min_length=1)] | None,
        Meta(description="weight of each tap's distances" + _PRESET),
    ] = None
    memory_mb: Annotated[
        Annotated[float, Meta(gt=0.0, le=1000.0)] | None,
        Meta(
            description="of all memories together in the file; rows follow from it, equally many for each tap"
            + _PRESET,
            extra={"unit": "MB"},
        ),
    ] = None
    candidates: Annotated[
        Annotated[int, Meta(ge=2)] | None,
        Meta(
            description="patches drawn from all good parts, from which a memory is chosen" + _PRESET,
            extra={"unit": "patches"},
        ),
    ] = None
    average: Annotated[
        Literal[1, 3], Meta(description="side of the local mean over features, 1 for none", extra={"unit": "cells"})
    ] = 1
    smooth: Annotated[
        float,
        Meta(
            ge=0.0,
            le=0.2,
            description="standard deviation of the map's Gaussian",
            extra={"unit": "sides of the picture"},
        ),
    ] = 0.01
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map becomes a score")] = "top"
    share: Annotated[float, Meta(gt=0.0, le=1.0, description="of the map's highest values that ``top`` averages")] = (
        0.01
    )


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
"""Budgets of 1 000 and 3 000 rows a tap."""
_RESNET_TAPS = (2, 3)
"""The layers of the published figures; not measured here."""


def plan_of(settings: Settings) -> Plan:
    """What the settings come to.

    Raises:
        ConfigError: another number of weights than of taps, or a tap that the backbone does not have.
    """
    preset = _PRESETS[settings.preset]
    own_taps = preset.taps if settings.backbone == "efficientnet_lite0" else _RESNET_TAPS
    taps = own_taps if settings.taps is None else settings.taps
    tap_weights = settings.tap_weights
    if tap_weights is None:
        tap_weights = preset.tap_weights if taps == preset.taps else (1.0,) * len(taps)
    if len(tap_weights) != len(taps):
        raise ConfigError(f"tap_weights: expected one for each of the {len(taps)} taps {taps}, got {len(tap_weights)}.")
    check_taps(settings.backbone, taps)
    return Plan(
        size=settings.size or preset.size,
        taps=taps,
        tap_weights=tap_weights,
        memory_mb=settings.memory_mb or preset.memory_mb,
        candidates=settings.candidates or preset.candidates,
    )


class PatchCore(Scorer):
    """``[N, C, h, w]`` to the map ``distance`` on the finest tap's grid: 1 is what good patches are apart."""

    def __init__(self, settings: Settings, channels: int) -> None:
        super().__init__()
        plan = plan_of(settings)
        known = taps_of(settings.backbone)
        self.average = settings.average
        self.side = _side(settings)
        self.backbone = build_backbone(settings.backbone, plan.taps, channels)
        self.memories = nn.ModuleList(Memory(known[tap].channels) for tap in plan.taps)

    def features(self, prepared: Tensor) -> list[Tensor]:
        """Of each tap, ``[N, channels, h, w]``."""
        features: list[Tensor] = self.backbone(prepared)
        if self.average > 1:
            side = self.average
            pool = nn.AvgPool2d(side, stride=1, padding=side // 2, count_include_pad=False)
            features = [pool(planes) for planes in features]
        return features

    def forward(self, prepared: Tensor) -> Evidence:
        """Weighted mean over the taps of the distance to each one's memory, coarser grids drawn up to the finest."""
        total: Tensor | None = None
        for planes, memory in zip(self.features(prepared), self.memories, strict=True):
            distance = memory(planes).unsqueeze(1)
            if distance.shape[2] != self.side:
                distance = nn.functional.interpolate(distance, (self.side, self.side), mode="bilinear")
            total = distance if total is None else total + distance
        assert total is not None
        return Evidence({"distance": total.squeeze(1)}, {})


class Memory(nn.Module):
    """Patches of good parts at one tap, and the distance of others to the nearest of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(()))
        # one column a row of the memory b: -2 b, and |b|^2 as one more feature, so that one product gives
        # |b|^2 - 2 x.b; takes the shape of what is stored
        self.register_buffer("bank", torch.zeros(channels + 1, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """``[N, channels, h, w]`` to ``[N, h, w]``."""
        rows = planes.permute(0, 2, 3, 1).flatten(0, 2)
        return self.distance(rows).view(planes.shape[0], planes.shape[2], planes.shape[3])

    def distance(self, rows: Tensor) -> Tensor:
        """``[R, channels]`` to ``[R]``, in units of this memory."""
        rows = (rows - self.get_buffer("center")) * self.get_buffer("scale")
        squares = (rows * rows).sum(dim=1)
        rows = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
        nearest: Tensor | None = None
        for chunk in torch.split(self.get_buffer("bank"), CHUNK, dim=1):
            lowest = (rows @ chunk).amin(dim=1)
            nearest = lowest if nearest is None else torch.minimum(nearest, lowest)
        assert nearest is not None
        return (squares + nearest).clamp(min=0.0).sqrt()  # rounding may take it below zero

    def fit(self, rows: Tensor, chosen: Tensor, weight: float, seed: int) -> None:
        """Remember the chosen rows, so that the others are `weight` apart from them on average.

        Args:
            rows: float32 ``[R, channels]``, at least 2.
            chosen: places of the core-set, int64.
            weight: of the distances.
            seed: draws the others by which distances are scaled.
        """
        center = rows.mean(dim=0)
        # one number for all channels: to unit root mean square, so that float32 holds squares well
        scale = 1 / (rows - center).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
        rows = (rows - center) * scale
        kept = rows[chosen.to(rows.device)]
        self._remember(center, scale, kept)
        others = torch.ones(len(rows), dtype=torch.bool)
        others[chosen] = False
        places = others.nonzero().squeeze(1)
        places = places[torch.randperm(len(places), generator=Generator().manual_seed(seed))[:HELD]]
        apart = self.distance(rows[places.to(rows.device)] / scale + center).mean()
        unit = weight / float(apart) if float(apart) > 0 else weight
        self._remember(center, scale * unit, kept * unit)

    def _remember(self, center: Tensor, scale: Tensor, kept: Tensor) -> None:
        self.center, self.scale = center.clone(), scale.clone()
        self.bank = torch.cat([-2 * kept, (kept * kept).sum(dim=1, keepdim=True)], dim=1).T.contiguous()


def fit(scorer: PatchCore, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """One pass over the good parts with bounded memory, then a core-set for each tap."""
    plan = plan_of(settings)
    load_pretrained(scorer.backbone, path=settings.weights, download=settings.download)
    scorer.eval()
    with torch.no_grad():
        drawn = draw(scorer, good.train, plan.candidates, context)
        numbers_a_row = sum(rows.shape[1] + 1 for rows in drawn)
        count = max(1, round(1e6 * plan.memory_mb / (4 * numbers_a_row)))
        for tap, rows, chosen, weight, memory in zip(
            plan.taps, drawn, choose(drawn, count, context), plan.tap_weights, scorer.memories, strict=True
        ):
            assert isinstance(memory, Memory)
            memory.fit(rows, chosen, weight / sum(plan.tap_weights), context.seed)
            logger.info("tap %d: %d of %d patches remembered", tap, memory.get_buffer("bank").shape[1], len(rows))


def choose(drawn: Sequence[Tensor], count: int, context: FitContext) -> list[Tensor]:
    """The core-set of each tap, places of at most `count` and at most half of its rows; side by side, as each is serial."""
    told = (context.progress, *[silent] * (len(drawn) - 1))  # one line tells of all
    with one_thread(), ThreadPoolExecutor(len(drawn)) as pool:
        tasks = [
            pool.submit(
                k_centre, rows, min(count, len(rows) // 2), seed=context.seed, progress=progress, what="core-sets"
            )
            for rows, progress in zip(drawn, told, strict=True)
        ]
        return [task.result() for task in tasks]


def draw(scorer: PatchCore, part: Part, candidates: int, context: FitContext) -> list[Tensor]:
    """For each tap at most `candidates` patches ``[R, channels]``, equally many of each picture, at random places.

    Memory holds these and one batch, however many pictures there are.

    Raises:
        TrainingError: the features are not finite.
    """
    generator = Generator().manual_seed(context.seed)
    # equally many of each, the remainder from pictures at random; with more pictures than candidates some give none
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
        # channels last: half the time on a CPU
        features = scorer.features(batch.to(context.device, memory_format=torch.channels_last))
        for kept, planes in zip(drawn, features, strict=True):
            for count, rows in zip(wanted, planes.flatten(2).transpose(1, 2), strict=True):
                places = torch.randperm(len(rows), generator=generator)[:count]
                kept.append(rows[places.to(rows.device)])
    result = [torch.cat(rows) for rows in drawn]
    if not all(bool(rows.isfinite().all()) for rows in result):
        raise TrainingError("the backbone gives features that are not finite: its weights are damaged.")
    return result


def _side(settings: Settings) -> int:
    """Of the map, in cells."""
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
    summary="frames, by the distance of patches to those of good parts in a frozen network's features",
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
