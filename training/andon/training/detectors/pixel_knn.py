"""Squared distance of a picture's pixels to the nearest good picture: a baseline beside which every network must be shown.

Works where good parts lie pixel upon pixel and differ little: digits, centred parts under a fixed light. Does not where they
move, turn or vary in brightness: a shift by two pixels counts as a defect. Nothing is trained, nothing is tuned; a network
that does not beat it has learnt nothing.

The matrix product only finds the neighbours (``|q - b|^2 = |q|^2 - 2 q.b + |b|^2``, centred, so that float32 keeps its
digits; ``|q|^2`` is the same for every b and left out). The map is then taken from the difference itself, so that the score
of a picture that is remembered is zero, and nothing needs to be clamped. A picture is one row here, so that a product with
60 000 remembered ones takes 240 kB: unlike `patchcore`, which has a thousand rows a picture, it needs no chunks.

Figures: docs/results.md. Source: Cover and Hart, IEEE Transactions on Information Theory 13 (1967).
"""

import logging
import math
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import track
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.nets.core_set import k_centre, one_thread
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.small_frames import SIZE, size_seen
from andon.training.recipe.top_share import check_share

logger = logging.getLogger(__name__)

BATCH = 256
CANDIDATE_BYTES = 1_000_000_000
"""Of good pictures held while fitting: beyond that, some are drawn at random."""
MOST_MB = 500.0
"""Of remembered pictures in a file."""


class Settings(Struct, frozen=True, kw_only=True):
    """Of `pixel_knn`."""

    size: Annotated[Annotated[int, Meta(ge=4, le=512)] | None, SIZE] = None
    k: Annotated[int, Meta(ge=1, le=100, description="neighbours whose squared differences are averaged")] = 1
    rows: Annotated[
        int,
        Meta(
            ge=0,
            description="good pictures remembered at most, chosen so that none is far from all of them; 0: all, as long as "
            "they take no more than 500 MB",
            extra={"unit": "pictures"},
        ),
    ] = 2000
    pool: Annotated[
        Literal["mean", "top", "max"],
        Meta(description="how the map becomes a score; mean: the squared distance over the number of pixels"),
    ] = "mean"
    share: Annotated[float, Meta(gt=0.0, le=1.0, description="of the map's highest values that ``top`` averages")] = (
        0.01
    )


class PixelKnn(Scorer):
    """``[N, C, h, w]`` in 0 to 1 to the map ``difference``: squared, averaged over channels and neighbours, 0 to 1."""

    def __init__(self, k: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.k = k
        self.shape = (channels, *size)
        width = math.prod(self.shape)
        self.register_buffer("center", torch.zeros(width))
        # one row a remembered picture b, and -|b|^2 / 2; they take the shape of what is stored
        self.register_buffer("bank", torch.zeros(1, width))
        self.register_buffer("offset", torch.zeros(1))

    def remember(self, rows: Tensor) -> None:
        """Keep good pictures, float32 ``[R, C h w]``, at least `k`."""
        self.center = rows.mean(dim=0)
        self.bank = rows - self.get_buffer("center")
        self.offset = -0.5 * self.get_buffer("bank").square().sum(dim=1)

    def nearest(self, rows: Tensor) -> Tensor:
        """Places of the nearest remembered pictures, int64 ``[N, k]``, nearest first; `rows` are centred."""
        closeness = nn.functional.linear(rows, self.get_buffer("bank"), self.get_buffer("offset"))
        return closeness.topk(min(self.k, self.get_buffer("bank").shape[0]), dim=1).indices

    def forward(self, prepared: Tensor) -> Evidence:
        """The map, and the nearest good picture as ``reconstruction``."""
        rows = prepared.flatten(1) - self.get_buffer("center")
        neighbours = self.get_buffer("bank")[self.nearest(rows)]
        difference = (rows.unsqueeze(1) - neighbours).square().mean(dim=1)
        nearest = neighbours[:, 0] + self.get_buffer("center")
        return Evidence(
            {"difference": difference.view(-1, *self.shape).mean(dim=1)},
            {},
            {"reconstruction": nearest.view(-1, *self.shape).clamp(0.0, 1.0)},
        )


def fit(scorer: PixelKnn, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Remember all good pictures, or a core-set of them.

    Raises:
        DataError: fewer pictures than neighbours.
        ConfigError: more than a file should hold.
    """
    width = math.prod(scorer.shape)
    wanted = min(settings.rows or len(good.train), len(good.train))
    if wanted < settings.k:
        raise DataError(f"--k {settings.k} needs as many good pictures to remember; there are {wanted}.")
    if 4e-6 * wanted * width > MOST_MB:
        most = int(MOST_MB / (4e-6 * width))
        raise ConfigError(
            f"{wanted} pictures of {width} numbers would take {4e-6 * wanted * width:.0f} MB of the file; at most "
            f"{MOST_MB:.0f} are allowed: --rows {most}, or a smaller --size."
        )
    rows = _rows(good.train, max(wanted, CANDIDATE_BYTES // (4 * width)), context).to(context.device)
    if wanted < len(rows):
        with one_thread():
            chosen = k_centre(rows, wanted, seed=context.seed, progress=context.progress)
        rows = rows[chosen.to(rows.device)]
    scorer.remember(rows)
    logger.info("%d of %d good pictures remembered, %.1f MB", len(rows), len(good.train), 4e-6 * rows.numel())


def _rows(part: Part, most: int, context: FitContext) -> Tensor:
    """``[R, C h w]``: all of a part, or `most` of it at random."""
    places = torch.randperm(len(part), generator=Generator().manual_seed(context.seed))[:most].sort().values
    batches = torch.split(places, BATCH)
    return torch.cat(
        [part.take(some.tolist()).flatten(1) for some in track(batches, context.progress, "good pictures")]
    )


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise DataError("pixel_knn judges frames.")
    check_share(settings)
    size = size_seen(found, settings.size)
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=size)


def _build(settings: Settings, spec: InputSpec) -> PixelKnn:
    if not isinstance(spec, FrameSpec):
        raise DataError("pixel_knn judges frames.")
    return PixelKnn(settings.k, spec.channels, spec.size)


def _score_rule(settings: Settings) -> ScoreRule:
    return ScoreRule(map="difference", pool=settings.pool, share=settings.share)


RECIPE = Recipe(
    name="pixel_knn",
    summary="frames, by the pixels' squared distance to the nearest good picture: the baseline",
    settings=Settings,
    tiny=Settings(size=24, rows=30),
    variants={"three-neighbours": Settings(size=24, rows=0, k=3, pool="top")},
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
    uses_validation=False,
)
