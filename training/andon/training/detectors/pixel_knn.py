"""Squared distance of a picture's pixels to the nearest good picture: the baseline for every network.

Suitable if good parts align pixel by pixel and differ little: digits, centred parts under constant light. Not suitable
if they move, rotate or vary in brightness: a shift by two pixels counts as a defect. Nothing is trained and nothing is
tuned. A network that is not better has learned nothing useful.

The matrix product only finds the neighbours: ``|q - b|^2 = |q|^2 - 2 q.b + |b|^2``. Pictures are centred, so that
float32 keeps its precision, and ``|q|^2`` is left out because it is the same for every b. The map is computed from the
difference itself, so the score of a stored picture is exactly zero and no clamping is needed. Each picture is one row,
so a product with 60 000 stored pictures takes 240 kB. Therefore no chunks are needed, unlike in `patchcore`, which has
a thousand rows per picture.

Results: docs/results.md. Source: Cover and Hart, IEEE Transactions on Information Theory 13 (1967).
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
from andon.training.recipe.wrong_data import expected_frames

logger = logging.getLogger(__name__)

BATCH = 256
CANDIDATE_BYTES = 1_000_000_000
"""Largest size of the good pictures in memory during the fit. If they need more, a random subset is used."""
MOST_MB = 500.0
"""Largest size of the stored pictures in a file, in MB."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `pixel_knn`."""

    size: Annotated[Annotated[int, Meta(ge=4, le=512)] | None, SIZE] = None
    k: Annotated[int, Meta(ge=1, le=100, description="number of neighbours whose squared differences are averaged")] = 1
    rows: Annotated[
        int,
        Meta(
            ge=0,
            description=(
                "largest number of stored good pictures, selected so that every good picture is near to one of them; "
                "0: all, up to 500 MB"
            ),
            extra={"unit": "pictures"},
        ),
    ] = 2000
    pool: Annotated[
        Literal["mean", "top", "max"],
        Meta(description="how the map becomes a score; mean: the squared distance divided by the number of pixels"),
    ] = "mean"
    share: Annotated[
        float,
        Meta(
            gt=0.0,
            le=1.0,
            description="with --pool top: score = mean of the highest values; this is their share of all values",
        ),
    ] = 0.01


class PixelKnn(Scorer):
    """A scorer from ``[N, C, h, w]`` in 0 to 1 to the map ``difference``, 0 to 1.

    The map is the squared difference, averaged over channels and neighbours.
    """

    def __init__(self, k: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.k = k
        self.shape = (channels, *size)
        width = math.prod(self.shape)
        self.register_buffer("center", torch.zeros(width))
        # one row per stored picture b, and -|b|^2 / 2; the buffers take the shape of the stored tensors
        self.register_buffer("bank", torch.zeros(1, width))
        self.register_buffer("offset", torch.zeros(1))

    def remember(self, rows: Tensor) -> None:
        """Store good pictures, float32 ``[R, C h w]``, at least `k`."""
        self.center = rows.mean(dim=0)
        self.bank = rows - self.get_buffer("center")
        self.offset = -0.5 * self.get_buffer("bank").square().sum(dim=1)

    def nearest(self, rows: Tensor) -> Tensor:
        """Return the places of the nearest stored pictures, int64 ``[N, k]``, nearest first; `rows` must be centred."""
        closeness = nn.functional.linear(rows, self.get_buffer("bank"), self.get_buffer("offset"))
        return closeness.topk(min(self.k, self.get_buffer("bank").shape[0]), dim=1).indices

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the map, and the nearest good picture as ``reconstruction``."""
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
    """Store all good pictures, or a core-set of them.

    Raises:
        DataError: fewer pictures than neighbours.
        ConfigError: the pictures exceed the size limit of the file.
    """
    width = math.prod(scorer.shape)
    wanted = min(settings.rows or len(good.train), len(good.train))
    if wanted < settings.k:
        raise DataError(f"--k: expected at most {wanted}, the number of stored good pictures, got {settings.k}.")
    if 4e-6 * wanted * width > MOST_MB:
        most = int(MOST_MB / (4e-6 * width))
        raise ConfigError(
            f"{wanted} pictures of {width} numbers would take {4e-6 * wanted * width:.0f} MB of the file, and at most "
            f"{MOST_MB:.0f} MB are allowed. Use --rows {most}, or a smaller --size."
        )
    rows = _rows(good.train, max(wanted, CANDIDATE_BYTES // (4 * width)), context).to(context.device)
    if wanted < len(rows):
        with one_thread():
            selected = k_centre(rows, wanted, seed=context.seed, progress=context.progress)
        rows = rows[selected.to(rows.device)]
    scorer.remember(rows)
    logger.info("stored %d of %d good pictures, %.1f MB", len(rows), len(good.train), 4e-6 * rows.numel())


def _rows(part: Part, most: int, context: FitContext) -> Tensor:
    """Return ``[R, C h w]``: all items of a part, or `most` of them at random."""
    places = torch.randperm(len(part), generator=Generator().manual_seed(context.seed))[:most].sort().values
    batches = torch.split(places, BATCH)
    return torch.cat(
        [part.take(some.tolist()).flatten(1) for some in track(batches, context.progress, "good pictures")]
    )


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise expected_frames("pixel_knn")
    check_share(settings)
    size = size_seen(found, settings.size)
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=size)


def _build(settings: Settings, spec: InputSpec) -> PixelKnn:
    if not isinstance(spec, FrameSpec):
        raise expected_frames("pixel_knn")
    return PixelKnn(settings.k, spec.channels, spec.size)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    return ScoreRule(map="difference", pool=settings.pool, share=settings.share)


RECIPE = Recipe(
    name="pixel_knn",
    summary="frames: squared distance of the pixels to the nearest good picture; the baseline for frames",
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
