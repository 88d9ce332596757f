"""The largest surprise of two whitenings: of a window's features at several scales, and of its one-step prediction errors.

The first choice for windows. The fit is a closed form: it takes about a second and uses no random numbers. ``distance`` is a
regularised Mahalanobis distance. Its features are means and spreads of blocks of four lengths, the last row, and the mean
step between rows. So it detects shifts, drifts, changed spreads and channels that no longer move together. ``prediction``
predicts each row from the rows before it, with one linear model over all channels, and whitens the errors. It detects changed
dynamics: oscillations, spikes, and channels that react differently. ``combined`` takes the rarer of the two
(`nets.surprise`), and decides by default.

The detector models one wide normal distribution. With several states of a machine, everything between them counts as good. A
fault that changes neither features nor linear predictions is missed, for example another order of the same slow movements.

The tails of both scores come from the training windows themselves, by cross-validation over blocks of time: each block is
scored by a model of the other blocks. No validation set is needed, so short logs suffice.

Sources: regularised Mahalanobis distance: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance
matrices (2004), here with a fixed share. Residuals of vector autoregressions for monitoring: Pan and Jarrett, Using
vector autoregressive residuals to monitor multivariate processes (2004).
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from msgspec import Meta, Struct, structs
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import track
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.sources.collection import Found, FoundLogs
from andon.sources.series.windows import window_spec
from andon.training.nets.surprise import BATCH, Combination
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.wrong_data import expected_windows

logger = logging.getLogger(__name__)

CLIP = 1000.0
"""Number of standard deviations at which values are clipped, as for `pca`."""
MOST_FEATURES = 2048
"""Largest number of features. The covariance matrix has its square (34 MB in float64) and is decomposed as a whole."""
MOST_CHANNELS = MOST_FEATURES // 4
"""Largest number of channels. Each has at least four features: last row, mean, spread and step."""
MOST_STORED = 500_000
"""Largest number of values in the stored directions (2 MB)."""
MOST_FITTED = 20_000
"""Largest number of windows that the fit uses, evenly spaced over the training set."""
MOST_SCORED = 4_000
"""Largest number of windows that the tails of the scores are fitted to, evenly spaced over the training set."""
STEEPEST = 100.0
"""Limit of the slope of surprises. The logarithm of a typical score is 4.6, so a score that rises by 5 % gains at most 1."""
OFFSET = 10.0
"""Added to each surprise. The tolerance between machines is relative to the median score, and a surprise may be 0. With this
offset, the tolerance of 1e-4 is about .001 nat."""
REGULARISATIONS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""Shares to choose from. On steady logs, small ones find weak faults. On logs that change over time, they only follow noise."""
BLOCKS = 5
"""Number of blocks of time for the cross-validation."""
STILL = 1e-4
"""Standard deviation below which a channel or feature counts as constant. Like all values, it is in units of the channel's
scale: the standard deviation, or 1 % of the level of a constant channel."""
STILL_SCALE = 0.1
"""Scale of a constant channel or feature. A constant channel that moves by 1 % of its level is 10 standard deviations out. With
a scale from rounding, one such channel would outshout all others."""
LEAST_SPREAD = 0.05
"""Smallest scale of a feature that varies. Smaller spreads come from few windows or from rounding."""
RIDGE = 1e-3
"""Weight of the ridge penalty of the prediction, in variances of a standardised channel."""
ERROR_FLOOR = 0.05
"""Share of the mean variance of the prediction errors that is added to each direction."""
LEAST_ERROR = 1e-5
"""Variance of prediction errors that is always added. Below it, float32 rounding would decide."""
LEAST_VARIANCE = 1e-6
"""Smallest variance of a direction of the features. It matters only if no feature varies."""
LEAST_SHARE = 1e-30
"""Lower limit of a divisor."""
LEAST_SCORE = 0.01
"""Lower limit of both scores. Good windows have a mean near 1. Only logs without noise are below. Their scores are rounding."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `whitening`."""

    steps: Annotated[int, Meta(ge=1, description="length of a window; 1: judge row by row", extra={"unit": "rows"})] = (
        64
    )
    hop: Annotated[
        int, Meta(ge=1, description="distance between windows, in training and on the line", extra={"unit": "rows"})
    ] = 16
    regularisation: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | None,
        Meta(
            description="share of the mean variance of features that is added to each direction; none: the share that explains "
            "left-out blocks of time best"
        ),
    ] = None
    lags: Annotated[
        int, Meta(ge=1, le=8, description="number of rows that predict the next row", extra={"unit": "rows"})
    ] = 2
    decides: Annotated[
        Literal["distance", "prediction", "combined"],
        Meta(
            description="score that decides; combined: the rarer of both, by the share of good windows that score as high"
        ),
    ] = "combined"


class Features(nn.Module):
    """A module that maps prepared windows ``[N, T, C]`` to features ``[N, B, C]``: B numbers for each channel.

    These are the last row, then means and standard deviations of blocks, then the mean absolute step. Blocks are counted from
    the end of the window. Their lengths are T/8, T/4, T/2 and T. If there are many channels, the shortest blocks are left out.
    """

    def __init__(self, steps: int, channels: int) -> None:
        super().__init__()
        lengths = sorted({max(1, steps // parts) for parts in (8, 4, 2, 1)})
        while self._count(lengths, steps) * channels > MOST_FEATURES and len(lengths) > 1:
            lengths = lengths[1:]
        self.steps, self.lengths = steps, lengths
        self.last = 1 not in lengths  # blocks of one row contain the last row
        self.register_buffer("rows", self._rows(), persistent=False)

    @staticmethod
    def _count(lengths: Sequence[int], steps: int) -> int:
        blocks = sum((steps // length) * (1 if length == 1 else 2) for length in lengths)
        return blocks + (1 not in lengths) + (steps > 1)

    def forward(self, prepared: Tensor) -> Tensor:
        """Return the features of a batch."""
        found = [prepared[:, -1:]] if self.last else []
        for length in self.lengths:
            count = self.steps // length
            blocks = prepared[:, self.steps - count * length :].reshape(-1, count, length, prepared.shape[2])
            mean = blocks.mean(dim=2)
            found.append(mean)
            if length > 1:
                found.append((blocks - mean.unsqueeze(2)).square().mean(dim=2).sqrt())
        if self.steps > 1:
            found.append(prepared.diff(dim=1).abs().mean(dim=1, keepdim=True))
        return torch.cat(found, dim=1)

    def spread(self, shares: Tensor) -> Tensor:
        """Return shares ``[N, B, C]`` of features as shares ``[N, T, C]`` of cells. A block's share is spread over its rows."""
        rows: Tensor = self.get_buffer("rows") @ shares
        return rows

    def _rows(self) -> Tensor:
        """Return the share of each row in each feature, ``[T, B]``."""
        steps = self.steps
        columns = []
        if self.last:
            columns.append(torch.zeros(steps))
            columns[-1][-1] = 1.0
        for length in self.lengths:
            count = steps // length
            some = []
            for block in range(count):
                column = torch.zeros(steps)
                begin = steps - (count - block) * length
                column[begin : begin + length] = 1 / length
                some.append(column)
            columns += some * (1 if length == 1 else 2)
        if steps > 1:
            columns.append(torch.full((steps,), 1 / steps))
        return torch.stack(columns, dim=1)


class Whitening(Scorer):
    """A scorer from ``[N, T, C]`` to ``distance``, ``prediction`` and ``combined``."""

    def __init__(self, settings: Settings, spec: WindowSpec) -> None:
        super().__init__()
        self.decides = settings.decides
        self.shape = (spec.steps, len(spec.channels))
        channels = len(spec.channels)
        self.features = Features(*self.shape)
        count = self.features.get_buffer("rows").shape[1] * channels
        self.lags = min(settings.lags, spec.steps - 1)
        self.register_buffer("center", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        # the number of directions is known only after the fit; buffers take the shape of the stored tensors
        self.register_buffer("axes", torch.zeros(count, 1))
        self.register_buffer("variances", torch.ones(1))
        self.register_buffer("rest", torch.ones(count))  # variance along all other directions, by feature
        self.register_buffer("own", torch.ones(count))  # variance of each feature, given all others
        self.register_buffer("weights", torch.zeros(self.lags * channels, channels))
        self.register_buffer("constant", torch.zeros(channels))
        self.register_buffer("whitener", torch.eye(channels))
        self.combination = Combination(("distance", "prediction"))

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the scores and the map ``share``: what each cell contributes to the deciding score.

        For ``combined``, it is the map of the rarer score. The map sums to the deciding score.
        """
        features, errors = self._whitened(prepared)
        scores = features.score, errors.score
        named = dict(zip(self.combination.names, scores, strict=True))
        surprise = OFFSET + self.combination.surprise(_orders(named))
        combined = surprise.amax(dim=1)
        by_feature = self.features.spread(
            features.contribution.reshape(-1, features.contribution.shape[1] // self.shape[1], self.shape[1])
        )
        by_error = nn.functional.pad(errors.contribution, (0, 0, self.lags, 0))
        shares = [
            cells / cells.sum(dim=(1, 2), keepdim=True).clamp(min=LEAST_SHARE) for cells in (by_feature, by_error)
        ]
        if self.decides == "combined":
            rarer = (surprise[:, 0] >= surprise[:, 1])[:, None, None]
            share = torch.where(rarer, shares[0], shares[1]) * combined[:, None, None]
        else:
            place = self.combination.names.index(self.decides)
            share = shares[place] * scores[place][:, None, None]
        return Evidence({"share": share}, named | {"combined": combined})

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """Return ``distance`` and ``prediction``, each ``[N]``. Good windows have a mean near 1."""
        features, errors = self._whitened(prepared)
        return dict(zip(self.combination.names, (features.score, errors.score), strict=True))

    def learn(self, good: "_Statistics", variances: Tensor, vectors: Tensor, regularisation: float) -> None:
        """Store the statistics of good windows, and their principal directions, those of high variance first."""
        varies = good.varies
        floor = _floor(good, regularisation)
        kept = max(1, min(int((variances > floor / 1000).sum()), MOST_STORED // len(varies)))
        others = float(variances[kept:].mean()) if kept < len(variances) else 0.0
        axes = torch.zeros(len(varies), min(kept, len(variances)), dtype=torch.float64)
        axes[varies] = vectors[:, :kept]
        rest = torch.where(varies, others + floor, 1.0)
        fitted = {
            "center": good.center,
            "scale": good.scale,
            "axes": axes,
            "variances": variances[:kept] + floor,
            "rest": rest,
            "own": 1
            / ((axes.square() / (variances[:kept] + floor) - axes.square() / rest[:, None]).sum(dim=1) + 1 / rest),
            "constant": good.constant,
            "weights": _by_steps(good.weights, self.lags),
            "whitener": good.whitener,
        }
        device = self.get_buffer("center").device
        for name, values in fitted.items():
            setattr(self, name, values.float().contiguous().to(device))

    def _whitened(self, prepared: Tensor) -> tuple["_Whitened", "_Whitened"]:
        """Return scores and contributions of features, and of prediction errors."""
        away = (self.features(prepared).flatten(1) - self.get_buffer("center")) / self.get_buffer("scale")
        axes, variances, rest = (self.get_buffer(name) for name in ("axes", "variances", "rest"))
        along = away @ axes
        # back into the features with one product: unchanged, for the residual, and divided by the variances
        back = torch.stack([along, along / variances], dim=1) @ axes.T
        residual = away - back[:, 0]
        distance = (along.square() / variances).sum(dim=1) + (residual.square() / rest).sum(dim=1)
        influence = back[:, 1] + residual / rest
        changes, known = steps_of(prepared, self.lags)
        errors = changes - self.get_buffer("constant")
        if self.lags:
            errors = errors - known @ self.get_buffer("weights")
        whitener = self.get_buffer("whitener")
        whitened = errors @ whitener
        return (
            _Whitened(distance / away.shape[1], influence.square() * self.get_buffer("own")),
            _Whitened(
                whitened.square().mean(dim=(1, 2)),
                (whitened @ whitener).square() / whitener.square().sum(dim=0),
            ),
        )


class _Whitened:
    """A score ``[N]``, and what each value contributes to it.

    The contribution of a value is what the score would lose if this value were the best one for the others
    (reconstruction-based contribution, Alcala and Qin, Automatica 45, 2009). If one value is wrong, it has the largest one.
    """

    def __init__(self, score: Tensor, contribution: Tensor) -> None:
        self.score = score.clamp(min=LEAST_SCORE)
        self.contribution = contribution


def steps_of(prepared: Tensor, lags: int) -> tuple[Tensor, Tensor]:
    """Return what a window's rows are predicted from, and what is predicted, as steps from row to row.

    Rows follow each other closely in most logs. Steps between them are exact in float32. A prediction of values would be a
    small difference of large numbers.

    Args:
        prepared: windows ``[N, T, C]``.
        lags: number of rows before each row, below T. With 0, the rows themselves are the errors.

    Returns:
        The steps ``[N, T - lags, C]`` to be predicted, and the values ``[N, T - lags, lags * C]`` to predict them from: the row
            before, then the steps before it.
    """
    if not lags:
        return prepared, prepared
    steps = prepared.diff(dim=1)
    count = prepared.shape[1] - lags
    before = [steps[:, lags - 1 - back : lags - 1 - back + count] for back in range(1, lags)]
    return steps[:, lags - 1 :], torch.cat([prepared[:, lags - 1 : -1], *before], dim=2)


def fit(scorer: Whitening, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Compute moments by block of time, then score each block with a model of the other blocks, then learn from all blocks."""
    part, lags = good.train, scorer.lags
    places = _even(range(len(part)), MOST_FITTED)
    if len(places) < 2:
        raise DataError(f"whitening: expected at least 2 windows for training, got {len(places)}. Record longer.")
    features = scorer.features.cpu()
    blocks = _blocks(places)
    moments = [
        _moments(part, block, features, lags) for block in track(blocks, context.progress, "moments", len(blocks))
    ]
    whole = _total(moments)
    scales = _scales(whole)
    known = _solve(whole, scales, lags)
    variances, vectors = _directions(known)
    basis = vectors[:, variances > LEAST_VARIANCE]
    overlap = math.ceil(settings.steps / settings.hop) - 1
    ladder = REGULARISATIONS if settings.regularisation is None else (settings.regularisation,)
    distances, errors, likelihoods = [], [], []
    for number, block in enumerate(track(blocks, context.progress, "cross-validation", len(blocks))):
        others = _solve(_total([one for place, one in enumerate(moments) if place != number]), scales, lags)
        apart = block[overlap if number else 0 : len(block) - (overlap if number < len(blocks) - 1 else 0)]
        batch = part.take(_even(apart or block, MOST_SCORED // len(blocks))).double()
        by_share, likelihood = _distances(features(batch).flatten(1), others, basis, ladder)
        distances.append(by_share)
        likelihoods.append(likelihood)
        errors.append(_errors(batch, others, lags))
    chosen = int(torch.cat(likelihoods, dim=1).mean(dim=1).argmax())
    if settings.regularisation is None:
        logger.info("regularisation %g explains blocks of time that were left out best", ladder[chosen])
    scorer.learn(known, variances, vectors, ladder[chosen])
    scorer.features.to(context.device)
    found = {"distance": torch.cat(distances, dim=1)[chosen], "prediction": torch.cat(errors)}
    scorer.combination.fit(_orders(found), steepest=STEEPEST)


class _Moments(NamedTuple):
    """Sums over windows, float64."""

    windows: int
    features: Tensor
    """``[F]``"""
    products: Tensor
    """``[F, F]``"""
    rows: int
    """Number of predicted rows."""
    designs: Tensor
    """``[D, D]``, with D = (lags + 1) C + 1: rows before, predicted row, and 1."""


class _Statistics(NamedTuple):
    """Statistics of good windows, float64."""

    center: Tensor
    scale: Tensor
    varies: Tensor
    """True for each feature that varies, ``[F]``."""
    covariance: Tensor
    """Covariance of the scaled features that vary."""
    weights: Tensor
    """Weights of the prediction, ``[lags * C, C]``, for the rows before, the last one first."""
    constant: Tensor
    whitener: Tensor


def _orders(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the logarithms of scores above their lower limit.

    With them, the exponential tail of the surprise is a Pareto tail of the scores. A score that is now and then very high on good
    windows then does not outshout the other one.
    """
    return {name: (score / LEAST_SCORE).log() for name, score in scores.items()}


def _even(places: Sequence[int], most: int) -> list[int]:
    return [places[round(place)] for place in torch.linspace(0, len(places) - 1, min(most, len(places))).tolist()]


def _blocks(places: list[int]) -> list[list[int]]:
    count = min(BLOCKS, len(places))
    borders = [round(len(places) * block / count) for block in range(count + 1)]
    return [places[begin:end] for begin, end in pairwise(borders)]


def _batches(part: Part, places: Sequence[int]) -> Iterator[Tensor]:
    for first in range(0, len(places), BATCH):
        yield part.take(places[first : first + BATCH])


def _designs(batch: Tensor, lags: int) -> Tensor:
    """Return rows ``[n, D]``: the rows before each row, the last one first, then the row, then 1."""
    count = batch.shape[1] - lags
    columns = [batch[:, lags - back : lags - back + count] for back in (*range(1, lags + 1), 0)]
    return torch.cat([*columns, torch.ones_like(columns[0][..., :1])], dim=2).flatten(0, 1)


def _moments(part: Part, places: Sequence[int], features: Features, lags: int) -> _Moments:
    windows, rows = 0, 0
    sums, products, designs = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    for batch in _batches(part, places):
        values = features(batch.double()).flatten(1)
        known = _designs(batch.double(), lags)
        windows, rows = windows + len(values), rows + len(known)
        sums, products, designs = sums + values.sum(dim=0), products + values.T @ values, designs + known.T @ known
    return _Moments(windows, sums, products, rows, designs)


def _total(moments: Sequence[_Moments]) -> _Moments:
    return _Moments(*(sum(values[1:], start=values[0]) for values in zip(*moments, strict=True)))


def _scales(total: _Moments) -> tuple[Tensor, Tensor]:
    """Return the scale of each feature, and whether it varies."""
    center = total.features / total.windows
    spread = (total.products.diagonal() / total.windows - center**2).clamp(min=0.0).sqrt()
    varies = spread > STILL
    return torch.where(varies, spread.clamp(min=LEAST_SPREAD), STILL_SCALE), varies


def _solve(total: _Moments, scales: tuple[Tensor, Tensor], lags: int) -> _Statistics:
    count, (scale, varies) = total.windows, scales
    center = total.features / count
    covariance = (total.products - count * torch.outer(center, center)) / max(1, count - 1) / torch.outer(scale, scale)
    designs = total.designs / total.rows
    channels = (len(designs) - 1) // (lags + 1)
    before = lags * channels
    row, known = slice(before, before + channels), [*range(before), before + channels]
    inner = designs[known][:, known] + RIDGE * torch.diag(torch.tensor([1.0] * before + [0.0], dtype=torch.float64))
    solution = torch.linalg.solve(inner, designs[known, row])
    cross = designs[row, known] @ solution
    errors = designs[row, row] - cross - cross.T + solution.T @ designs[known][:, known] @ solution
    moves = designs[row, row].diagonal() - designs[row, -1] ** 2 > STILL**2
    return _Statistics(
        center=center,
        scale=scale,
        varies=varies,
        covariance=covariance[varies][:, varies],
        weights=solution[:before],
        constant=solution[before],
        whitener=_whitener(errors, moves),
    )


def _whitener(errors: Tensor, moves: Tensor) -> Tensor:
    """Return the symmetric whitener ``[C, C]`` of prediction errors. A channel that stands still has a fixed scale."""
    variances, vectors = torch.linalg.eigh(errors[moves][:, moves])
    variances = variances.clamp(min=0.0)
    floor = ERROR_FLOOR * variances.sum() / max(1, len(variances)) + LEAST_ERROR
    whitener = torch.eye(len(moves), dtype=torch.float64) / STILL_SCALE
    whitener[torch.outer(moves, moves)] = (vectors / (variances + floor).sqrt() @ vectors.T).flatten()
    return whitener


def _directions(good: _Statistics) -> tuple[Tensor, Tensor]:
    """Return the variances along the principal directions of the features that vary, in descending order, and the directions."""
    ascending, vectors = torch.linalg.eigh(good.covariance)
    return ascending.flip(0).clamp(min=0.0), vectors.flip(1)


def _floor(good: _Statistics, regularisation: float) -> float:
    count = len(good.covariance)
    return regularisation * float(good.covariance.diagonal().sum()) / max(1, count) + LEAST_VARIANCE


def _by_steps(weights: Tensor, lags: int) -> Tensor:
    """Return the weights that predict steps from the last row and the steps before it (`steps_of`)."""
    if not lags:
        return weights
    by_row = weights.reshape(lags, -1, weights.shape[1])
    # rows before the last one are the last row minus steps: x[t-k] = x[t-1] - d[t-1] - ... - d[t-k+1]
    channels = by_row.shape[2]
    level = by_row.sum(dim=0) - torch.eye(channels, dtype=weights.dtype)
    steps = [-by_row[back:].sum(dim=0) for back in range(1, lags)]
    return torch.cat([level, *steps])


def _distances(features: Tensor, good: _Statistics, basis: Tensor, ladder: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return distances and log-likelihoods of windows under the statistics of other windows, each ``[len(ladder), n]``.

    Only directions of `basis` count, ``[F, r]``: those in which any window varies. Some features depend on others exactly, such
    as the mean of a block on the means of its halves. Because of their directions, no share would be small enough.
    """
    variances, vectors = torch.linalg.eigh(basis.T @ good.covariance @ basis)
    variances = variances.clamp(min=0.0)
    away = (features - good.center) / good.scale
    along = (away[:, good.varies] @ basis @ vectors).square()
    still = away[:, ~good.varies].square().sum(dim=1)
    distances, likelihoods = [], []
    for share in ladder:
        whole = variances + _floor(good, share)
        distance = (along / whole).sum(dim=1)
        distances.append(((distance + still) / away.shape[1]).clamp(min=LEAST_SCORE))
        likelihoods.append(-(distance + whole.log().sum()))
    return torch.stack(distances), torch.stack(likelihoods)


def _errors(batch: Tensor, good: _Statistics, lags: int) -> Tensor:
    """Return the score ``prediction`` ``[n]`` of windows under the statistics of other windows."""
    changes, known = steps_of(batch, lags)
    errors = changes - good.constant
    if lags:
        errors = errors - known @ _by_steps(good.weights, lags)
    return (errors @ good.whitener).square().mean(dim=(1, 2)).clamp(min=LEAST_SCORE)


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundLogs):
        raise expected_windows("whitening")
    if len(found.channels) > MOST_CHANNELS:
        raise ConfigError(
            f"whitening: expected at most {MOST_CHANNELS} channels, got {len(found.channels)}. Use logs with fewer channels, or "
            "another detector."
        )
    return structs.replace(window_spec(found, settings.steps, settings.hop), clip=CLIP)


def _build(settings: Settings, spec: InputSpec) -> Whitening:
    if not isinstance(spec, WindowSpec):
        raise expected_windows("whitening")
    return Whitening(settings, spec)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    return ScoreRule(score=settings.decides)


TINY = Settings(steps=16, hop=8)

RECIPE = Recipe(
    name="whitening",
    summary="windows of sensor channels: the rarer of unusual features and unpredicted rows; the first choice for windows",
    settings=Settings,
    tiny=TINY,
    variants={
        "distance": Settings(steps=16, hop=8, decides="distance"),
        "prediction": Settings(steps=2, hop=1, decides="prediction"),
        "row": Settings(steps=1, hop=1),
    },
    gives="window",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
    uses_validation=False,
)
