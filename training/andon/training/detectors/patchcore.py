"""Distance of each patch to the nearest patch of good parts, in the features of a frozen network. Nothing is trained.

Suitable with a few dozen good parts, for textures and for parts in similar positions, and for defects that look unlike
anything good: scratches, dents, stains, missing pieces. Not suitable for defects that are wrong only by place or number
(a second label, a part turned round), or for defects smaller than a few cells of its grid. `fine` finds smaller defects
than `standard`, and `standard` smaller ones than `fast`.

Source: Roth et al., Towards Total Recall in Industrial Anomaly Detection (CVPR 2022). This implementation differs in
these points:

* There is one memory per tap, on the tap's own grid. Distances are added; features are not concatenated.
* Distances are divided by the local radius of the memory, or by its root with `fast` (`andon.training.nets.patch_memory`).
* The network sees frames at their own size or reduced, never enlarged (`size_seen`).
* There is no average over 3 x 3 cells.
* There is no re-weighting by neighbours, as in the authors' own code.
* The score is the mean of the highest hundredth of the map, not its maximum.
* Good parts that look unlike all others are named, and left out on request (`andon.training.nets.suspects`).

Version 1 had Euclidean distances and fixed sizes. The presets were chosen on seven sets of good parts with synthetic defects.
Mean AUROC at 384 px with taps 7, 10, 14: Euclidean .879, divided by the radius .907. `docs/lab-log.md` has the figures
and the other reasons. `docs/results.md` has figures on real test folders, which were measured after the choice.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple

import torch
from msgspec import Meta, Struct, structs
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.export.masks import judged_cells
from andon.export.tile_masks import cells_of_kept, kept_tiles
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
from andon.training.nets.patch_memory import PatchMemory
from andon.training.nets.suspects import Drawn, suspects
from andon.training.recipe import tiling
from andon.training.recipe.recipe import FitContext, Nearest, Part, Recipe, TrainingData
from andon.training.recipe.top_share import check_share
from andon.training.recipe.wrong_data import expected_frames

logger = logging.getLogger(__name__)

BATCH = 2
"""Pictures per step of the fit. Larger batches took longer per picture, because they exceed the cache."""
_Tap = Annotated[int, Meta(ge=0)]
_Weight = Annotated[float, Meta(gt=0.0)]
_PRESET = "; none: as in the preset"


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `patchcore`. None means the preset's value. A preset changes only with a new version of the recipe."""

    preset: Annotated[
        Literal["fast", "standard", "fine"],
        Meta(
            description=(
                "fast: frames at up to 224 px, about 10 ms for a 1080p frame on one CPU core. standard: up to 384 px, about "
                "35 ms. fine: up to 512 px, about 60 ms, finds smaller defects"
            )
        ),
    ] = "standard"
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
        Meta(
            description=(
                "side of the square that the network sees, a multiple of 32; none: the long side of the frames, at most the "
                "preset's size"
            ),
            extra={"unit": "px"},
        ),
    ] = None
    tile: Annotated[
        Annotated[str, Meta(pattern=tiling.PATTERN)] | None,
        Meta(
            description=(
                "for small defects in large frames: cut the frames into overlapping tiles of the network's size. auto: as "
                "many as are needed to keep the frame at its size. 3x4: 3 rows of 4 tiles. The time grows with their number. "
                "All frames must have one size. none: no tiles"
            )
        ),
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
    density: Annotated[
        Annotated[float, Meta(ge=0.0, le=1.0)] | None,
        Meta(
            description=(
                "distances to a stored patch are divided by r ** X, where r is the mean distance of this patch to its neighbours "
                "in the memory; 0: plain Euclidean distances" + _PRESET
            )
        ),
    ] = None
    length: Annotated[
        Literal["plain", "soft"],
        Meta(
            description=(
                "plain: features as they are. soft: features of a limited length, for surfaces of varying contrast and light"
            )
        ),
    ] = "plain"
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
            description=(
                "patches drawn from all good parts, from which a memory is selected; none: as in the preset, with tiles four "
                "times as many"
            ),
            extra={"unit": "patches"},
        ),
    ] = None
    suspects: Annotated[
        Literal["keep", "leave_out"],
        Meta(
            description=(
                "good parts that look unlike all others and may be defective. keep: only name them. leave_out: also leave them "
                "out of the memory"
            )
        ),
    ] = "keep"
    average: Annotated[
        Literal[1, 3],
        Meta(description="average the features over a square of this side; 1: no averaging", extra={"unit": "cells"}),
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
        Annotated[float, Meta(gt=0.0, le=1.0)] | None,
        Meta(
            description=(
                "with --pool top: score = mean of the highest values; this is their share of all values of the map, or of a "
                "tile. none: 0.01, with tiles 0.005"
            )
        ),
    ] = None


class Plan(NamedTuple):
    """Settings with the preset filled in."""

    size: int
    """Side of the square that the network sees. For smaller frames the side is smaller, unless the user set it."""
    taps: tuple[int, ...]
    tap_weights: tuple[float, ...]
    density: float
    memory_mb: float
    candidates: int


_PRESETS = {
    "fast": Plan(224, (7, 10), (1.0, 1.0), density=0.5, memory_mb=0.785, candidates=30_000),
    "standard": Plan(384, (7, 10, 14), (1.0, 1.0, 1.0), density=1.0, memory_mb=3.12, candidates=30_000),
    "fine": Plan(512, (7, 10, 14), (1.0, 1.0, 1.0), density=1.0, memory_mb=4.68, candidates=50_000),
}
"""Presets with memories of 1 000, 2 000 and 3 000 rows per tap."""
SHARE = 0.01
TILE_SHARE = 0.005
"""Default share of the highest values, of the map and of a tile.

Tiles are for small defects. One of the size of a cell changes at most 4 cells, and half a hundredth of a tile of the preset
``standard`` is 3 cells. With a hundredth, 6 cells, spots of 12 px had an AUROC of .944 instead of .969 (docs/lab-log.md).
"""
TILED_CANDIDATES = 4
"""With tiles, the preset's candidates are multiplied by this number.

A large frame has a hundred times the patches of a small one, and a print or an edge is a small part of them. With 120 000
instead of 30 000 candidates, the AUROC of spots of 12 px rose from .980 to .989, in the same time (docs/lab-log.md).
"""
SCENE_STRIDE = 16
"""Largest stride of the tap whose features describe the frame as a whole, for the scene check."""
SMALLEST = 96
"""Smallest side for small frames. The deepest tap then has 3 x 3 cells."""
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
        density=preset.density if settings.density is None else settings.density,
        memory_mb=settings.memory_mb or preset.memory_mb,
        candidates=settings.candidates or preset.candidates,
    )


def candidates_of(settings: Settings, tiles: int) -> int:
    """Return the number of candidate patches.

    Args:
        settings: the settings.
        tiles: tiles of a frame, 1 without tiles.
    """
    if settings.candidates is not None or tiles == 1:
        return plan_of(settings).candidates
    return TILED_CANDIDATES * plan_of(settings).candidates


class PatchCore(Scorer):
    """A scorer from ``[N, C, h, w]`` to the map ``distance``, in units of the mean distance of good patches.

    The map has the grid of the finest tap.
    """

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        super().__init__()
        plan = plan_of(settings)
        known = taps_of(settings.backbone)
        self.average = settings.average
        self.side = _side(settings, spec)
        # numbers of the tiles that are judged; a frame without tiles is one tile
        self.tiles = (0,) if spec.tiles is None else kept_tiles(spec)
        self.backbone = build_backbone(settings.backbone, plan.taps, spec.channels)
        # features of medium depth: deep enough for parts of an object, and not too coarse for small frames
        self.scene = max((place for place, tap in enumerate(plan.taps) if known[tap].stride <= SCENE_STRIDE), default=0)
        soft = settings.length == "soft"
        self.memories = nn.ModuleList(PatchMemory(known[tap].channels, soft=soft) for tap in plan.taps)
        self.judged = _judged_of_tiles(spec, (self.side, self.side))
        """Cells of the map that count in each of these tiles, bool ``[K, h, w]``. None: all of them."""

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
        features = self.features(prepared)
        for planes, memory in zip(features, self.memories, strict=True):
            distance = memory(planes).unsqueeze(1)
            if distance.shape[2] != self.side:
                distance = nn.functional.interpolate(distance, (self.side, self.side), mode="bilinear")
            total = distance if total is None else total + distance
        assert total is not None
        return Evidence({"distance": total.squeeze(1)}, {}, scene=features[self.scene])


def fit(scorer: PatchCore, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Draw patches in one pass over the good parts with bounded memory, then select a core-set for each tap.

    If parts look unlike all others, the core-sets are selected again without them.
    """
    plan = plan_of(settings)
    load_pretrained(scorer.backbone, path=settings.weights, download=settings.download)
    scorer.eval()
    with torch.no_grad():
        drawn, origins = draw(scorer, good.train, candidates_of(settings, len(scorer.tiles)), context)
        taps = remember(scorer, drawn, origins, plan, context)
        found = suspects(taps, len(good.train) // len(scorer.tiles))
        leave_out = settings.suspects == "leave_out" and bool(found)
        if leave_out:
            unlike = torch.tensor([suspect.place for suspect in found])
            kept = [~torch.isin(origin[:, 0], unlike) for origin in origins]
            drawn = [rows[keep.to(rows.device)] for rows, keep in zip(drawn, kept, strict=True)]
            origins = [origin[keep] for origin, keep in zip(origins, kept, strict=True)]
            remember(scorer, drawn, origins, plan, context)
        context.suspects(found, left_out=leave_out)


def remember(
    scorer: PatchCore, drawn: Sequence[Tensor], origins: Sequence[Tensor], plan: Plan, context: FitContext
) -> list[Drawn]:
    """Fill the memory of each tap with a core-set of the drawn patches."""
    numbers_a_row = sum(rows.shape[1] + 2 for rows in drawn)
    count = max(1, round(1e6 * plan.memory_mb / (4 * numbers_a_row)))
    selections = choose(drawn, count, context)
    taps = []
    for tap, rows, origin, selected, weight, memory in zip(
        plan.taps, drawn, origins, selections, plan.tap_weights, scorer.memories, strict=True
    ):
        assert isinstance(memory, PatchMemory)
        share = weight / sum(plan.tap_weights)
        memory.fit(rows, selected, weight=share, density=plan.density, seed=context.seed, origin=origin)
        taps.append(Drawn(rows, origin[:, 0], selected.cpu(), memory))
        logger.info("tap %d: stored %d of %d patches", tap, memory.get_buffer("bank").shape[1], len(rows))
    return taps


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


def draw(scorer: PatchCore, part: Part, candidates: int, context: FitContext) -> tuple[list[Tensor], list[Tensor]]:
    """Draw for each tap at most `candidates` patches at random places, equally many from each picture or tile.

    Memory contains these patches and one batch, for any number of pictures. With masks, a tile gives patches in proportion to
    its cells that count.

    Returns:
        The patches of each tap ``[R, channels]``, and their origins, int32 ``[R, 2]``: place of the picture, and cell. With
        tiles, the cells of a picture are numbered tile by tile.

    Raises:
        TrainingError: the features are not finite.
    """
    generator = Generator().manual_seed(context.seed)
    quotas = _quotas(scorer, len(part), candidates, generator)
    allowed: dict[tuple[int, int], Tensor] = {}
    drawn: list[list[Tensor]] = [[] for _ in scorer.memories]
    origins: list[list[Tensor]] = [[] for _ in scorer.memories]
    steps = math.ceil(len(part) / BATCH)
    done = 0
    for batch in track(part.batches(BATCH), context.progress, "features", steps):
        first, done = done, done + len(batch)
        wanted = quotas[first:done].tolist()
        if not any(wanted):
            continue
        # channels last takes half the time on a CPU
        features = scorer.features(batch.to(context.device, memory_format=torch.channels_last))
        for tap, (kept, origin, planes) in enumerate(zip(drawn, origins, features, strict=True)):
            for picture, (count, rows) in enumerate(zip(wanted, planes.flatten(2).transpose(1, 2), strict=True), first):
                frame, tile = divmod(picture, len(scorer.tiles))
                if scorer.judged is None:
                    places = torch.randperm(len(rows), generator=generator)[:count]
                else:
                    if (tap, tile) not in allowed:
                        allowed[tap, tile] = _judged_places(scorer.judged[tile], (planes.shape[2], planes.shape[3]))
                    cells = allowed[tap, tile]
                    places = cells[torch.randperm(len(cells), generator=generator)[:count]]
                kept.append(rows[places.to(rows.device)])
                within = places + scorer.tiles[tile] * len(rows)
                origin.append(torch.stack([torch.full_like(places, frame), within], dim=1).to(torch.int32))
    result = [torch.cat(rows) for rows in drawn]
    if not all(bool(rows.isfinite().all()) for rows in result):
        raise TrainingError("the backbone's features are not finite. Its weights are damaged: replace the file.")
    return result, [torch.cat(rows) for rows in origins]


def _quotas(scorer: PatchCore, pictures: int, candidates: int, generator: Generator) -> Tensor:
    """Return how many patches each picture or tile gives.

    They are equally many, or in proportion to the cells that count. The remainder comes from random ones. With fewer candidates
    than pictures, some give none.
    """
    weights = torch.ones(len(scorer.tiles), dtype=torch.int64)
    if scorer.judged is not None:
        weights = scorer.judged.flatten(1).sum(dim=1)
    weights = weights.repeat(pictures // len(weights))
    quotas = candidates * weights // weights.sum()
    left = candidates - int(quotas.sum())
    quotas[torch.randperm(pictures, generator=generator)[:left]] += 1
    return quotas


def _judged_of_tiles(spec: FrameSpec, shape: tuple[int, int]) -> Tensor | None:
    """Return the cells that count in each judged tile, bool ``[K, h, w]``; None without masks. A frame is one tile."""
    if spec.tiles is not None:
        return cells_of_kept(spec, shape)
    cells = judged_cells(spec, shape)
    return None if cells is None else cells[None]


def _judged_places(judged: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the cells of a tap that contribute to cells of the map that count, int64.

    The distances of a coarse tap are interpolated. So its cells next to the counting ones contribute, too, and good patches
    must be known there.

    Args:
        judged: cells of the map that count, bool ``[h, w]``.
        shape: height and width of the tap.
    """
    if shape == tuple(judged.shape):
        return judged.flatten().nonzero().squeeze(1)
    with torch.enable_grad():  # the gradient is not 0 exactly where a cell contributes
        cells = torch.zeros((1, 1, *shape), requires_grad=True)
        fine = nn.functional.interpolate(cells, tuple(judged.shape), mode="bilinear")
        (gradient,) = torch.autograd.grad(fine[0, 0][judged].sum(), cells)
    return gradient.flatten().nonzero().squeeze(1)


def nearest(scorer: PatchCore, prepared: Tensor) -> list[Nearest]:
    """Return for each tap the nearest stored patch of each cell of one prepared frame ``[1, C, h, w]``."""
    found = []
    for planes, memory in zip(scorer.features(prepared), scorer.memories, strict=True):
        assert isinstance(memory, PatchMemory)
        distance, origin = memory.nearest(planes.flatten(2).transpose(1, 2)[0])
        shape = planes.shape[2:]
        found.append(Nearest(distance.view(shape), origin[:, 0].view(shape), origin[:, 1].view(shape)))
    return found


def size_seen(found: FoundFrames, limit: int) -> int:
    """Return the side of the square at which the network sees frames: their long side, rounded down to a multiple of 32.

    Enlarged frames cost time and make the scores worse. Where frames have several sizes, the median of the long sides
    decides.

    Args:
        found: description of the data.
        limit: largest side.
    """
    sizes = found.sizes or ((found.frame_size or found.largest, 1),)
    long_sides = sorted((max(size), count) for size, count in sizes)
    half = sum(count for _, count in long_sides) / 2
    passed = accumulate(count for _, count in long_sides)
    median = next(side for (side, _), upto in zip(long_sides, passed, strict=True) if upto >= half)
    return max(min(SMALLEST, limit), min(limit, median // MULTIPLE * MULTIPLE))


def _cell(settings: Settings) -> int:
    """Return the side of a cell of the map, in pixels of the network's input."""
    known = taps_of(settings.backbone)
    return min(known[tap].stride for tap in plan_of(settings).taps)


def _side(settings: Settings, spec: FrameSpec) -> int:
    """Return the side of the map in cells."""
    return spec.size[0] // _cell(settings)


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise expected_frames("patchcore")
    check_share(settings)
    plan = plan_of(settings)
    size = settings.size or size_seen(found, plan.size)
    height, width = found.frame_size or found.largest
    logger.info(
        "the network sees frames at %d x %d px%s; the %sframes are %d x %d px",
        size, size,
        "" if settings.size else f" (their long side in multiples of {MULTIPLE}, at most {plan.size})",
        "" if found.frame_size else "largest ", height, width,
    )  # fmt: skip
    spec = FrameSpec(channels=1 if found.channels == 1 else 3, size=(size, size), mean=MEAN, scale=SCALE)
    return spec if settings.tile is None else _tiled(spec, settings.tile, found)


def _tiled(spec: FrameSpec, asked: str, found: FoundFrames) -> FrameSpec:
    """Return the input with tiles. ``auto`` gives none if one tile covers the frame."""
    if found.frame_size is None:
        raise DataError(
            "--tile: expected frames of one size, because the tiles are fixed, got frames of several sizes. Choose one with "
            "--frame-size, or leave out --tile."
        )
    tiles = tiling.tiles_for(asked, found.frame_size, spec.size)
    if tiles is None:
        logger.info("--tile auto: no tiles, because one of %d x %d px covers the frames", *spec.size)
        return spec
    return structs.replace(spec, tiles=tiles, frame_size=found.frame_size)


def _build(settings: Settings, spec: InputSpec) -> PatchCore:
    return PatchCore(settings, _frames(spec))


def _score_rule(settings: Settings, spec: InputSpec) -> ScoreRule:
    smooth = settings.smooth * _side(settings, _frames(spec))
    share = settings.share or (SHARE if _frames(spec).tiles is None else TILE_SHARE)
    return ScoreRule(map="distance", pool=settings.pool, share=share, smooth=smooth)


def _frames(spec: InputSpec) -> FrameSpec:
    if not isinstance(spec, FrameSpec):
        raise expected_frames("patchcore")
    return spec


def _weights(settings: Settings) -> tuple[Weights, ...]:
    return (weights_record(settings.backbone, settings.weights),)


RECIPE = Recipe(
    name="patchcore",
    version=2,
    summary="frames: distance of patches to those of good parts, in the features of a pretrained network",
    settings=Settings,
    tiny=Settings(preset="fast", size=64, taps=(4,), memory_mb=0.02, candidates=600),
    variants={
        "soft-length": Settings(preset="fast", size=64, taps=(4,), length="soft", memory_mb=0.02, candidates=600)
    },
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
    cell=_cell,
    uses_validation=False,
    scene_check=True,
    weights=_weights,
    nearest=nearest,
)
