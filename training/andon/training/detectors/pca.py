"""Principal components of windows of sensor channels: what lies far out among them (T2), and what lies off them (Q).

Fitted in a second and without chance, and hard to beat where channels depend on each other linearly around one state: the
baseline beside which every network for windows must be shown. T2 sees what is usual in kind but too much; Q, the squared
prediction error, sees channels that no longer move together. Does not see what only a curve would tell from good, and
takes several states of a machine for one wide cloud between which everything is good.

Source: Hotelling (1947) and Jackson and Mudholkar, Control procedures for residuals associated with principal component
analysis, Technometrics 21 (1979), without their limits: these want independent, normal rows, and gave 1.7 % (T2) and 7.1 %
(Q) false alarms where 1 % was asked for on the Tennessee Eastman process; here the file's threshold is calibrated.
Windows of several rows are lagged values: dynamic PCA (Ku, Storer and Georgakis, Chemometrics 30, 1995); `--steps 1
--hop 1` judges row by row, as the textbook does. T2's map is the reconstruction-based contribution (Alcala and Qin,
Automatica 45, 2009).

Defaults measured on the simulated converter (1 000 good windows; 20 faults of each kind at severity 1, then .5; AUROC over
disjoint windows of `combined`): spike 1.00, 1.00, oscillation .98, .90, drift .95, .94; a share of .9 loses up to .2 of it,
.97 to .99 differ by .04 at most, windows of 32 rows lose .13 on the drift, of 16 rows more. Chosen there, so optimistic.
"""

import logging
import math
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct, structs
from torch import Tensor

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import track
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.sources.collection import Found, FoundLogs
from andon.sources.series.windows import window_spec
from andon.training.nets.surprise import BATCH, Combination, scores_over
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData

logger = logging.getLogger(__name__)

MOST_VALUES = 4096
"""Of a window: the covariance is its square, 134 MB in float64, and is decomposed whole."""
CLIP = 1000.0
"""Standard deviations at which values are cut off: two products need no shield against large values, as nets do. At the
usual 10, T2 of 11 components missed .422 of the faulty rows of the Tennessee Eastman process (1 % false alarms, faults 3,
9, 15 left out), without any .392."""
LEAST_VARIANCE = 1e-5
"""Of the largest variance: along directions that hold less, T2 would be the rounding of float32.

Q is floored at the same level. Where channels mostly stand still, the kept directions rebuild good windows exactly and what
is left differs by machine and batch size; the tails of the scores must not be learnt from that."""


class Settings(Struct, frozen=True, kw_only=True):
    """Of `pca`."""

    steps: Annotated[int, Meta(ge=1, description="length of a window; 1 judges row by row", extra={"unit": "rows"})] = (
        64
    )
    hop: Annotated[
        int, Meta(ge=1, description="distance of windows in training and on the line", extra={"unit": "rows"})
    ] = 16
    components: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="kept directions; as many as `explained` wants where not given"),
    ] = None
    explained: Annotated[
        float, Meta(gt=0.0, lt=1.0, description="share of the variance that the kept directions hold at least")
    ] = 0.95
    decides: Annotated[
        Literal["t2", "q", "combined"],
        Meta(description="the score that decides; combined: the more surprising of both, by the validation part"),
    ] = "combined"


class Components(Scorer):
    """``[N, T, C]`` to ``t2``, ``q`` and ``combined``; both matrix products are within `center` of the data."""

    def __init__(self, settings: Settings, spec: WindowSpec) -> None:
        super().__init__()
        self.first = "contribution" if settings.decides == "t2" else "residual"  # the first map explains the verdict
        self.shape = (spec.steps, len(spec.channels))
        values = math.prod(self.shape)
        self.register_buffer("center", torch.zeros(values))
        # how many there are is known only after the fit; buffers take the shape of what is stored
        self.register_buffer("axes", torch.zeros(values, 1))
        self.register_buffer("variances", torch.ones(1))
        self.register_buffer("weights", torch.zeros(values))  # of each cell's contribution
        self.register_buffer("floor", torch.zeros(1))  # of Q
        self.combination = Combination(("t2", "q"))

    def forward(self, prepared: Tensor) -> Evidence:
        """Maps: ``residual``, whose sum is ``q``; ``contribution`` to ``t2``, 1 in each cell of good windows on average."""
        residual, influence, scores = self._judge(prepared)
        maps = {
            "residual": (residual**2).reshape(-1, *self.shape),
            "contribution": (influence**2 * self.get_buffer("weights")).reshape(-1, *self.shape),
        }
        maps = {self.first: maps[self.first], **maps}
        # from 1 on: where most good windows are alike their surprise is 0 but for rounding, and the tolerance between
        # machines is relative to the median score
        return Evidence(maps, scores | {"combined": 1 + self.combination(scores)})

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """``t2`` and ``q``, each ``[N]``."""
        return self._judge(prepared)[2]

    def fit(self, center: Tensor, axes: Tensor, variances: Tensor) -> None:
        """Take mean ``[D]``, kept directions ``[D, k]`` and their variances ``[k]``, descending, float64."""
        own = (axes**2 / variances).sum(dim=1)
        # a constant channel has no part in any direction, but for rounding
        weights = torch.where(own > 1e-6 * own.max(), 1 / own, 0.0)
        device = self.get_buffer("center").device
        floor = LEAST_VARIANCE * variances[:1]
        learnt = {"center": center, "axes": axes, "variances": variances, "weights": weights, "floor": floor}
        for name, values in learnt.items():
            setattr(self, name, values.float().contiguous().to(device))

    def _judge(self, prepared: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        axes, variances = self.get_buffer("axes"), self.get_buffer("variances")
        away = prepared.flatten(1) - self.get_buffer("center")  # first, or squares would cancel in float32
        along = away @ axes
        # back into the window with one product: as it was, for the residual, and by variance, for T2
        back = torch.stack([along, along / variances], dim=1) @ axes.T
        residual = away - back[:, 0]
        scores = {
            "t2": (along**2 / variances).sum(dim=1),
            "q": torch.maximum((residual**2).sum(dim=1), self.get_buffer("floor")),
        }
        return residual, back[:, 1], scores


def fit(scorer: Components, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Two passes over the training part for mean and covariance, one decomposition, then the tails of the scores."""
    center, covariance = moments(good.train, context)
    ascending, vectors = torch.linalg.eigh(covariance)
    variances, axes = ascending.flip(0).clamp(min=0.0), vectors.flip(1)
    kept = components(variances, settings, len(good.train))
    logger.info(
        "%d of %d directions hold %.1f %% of the variance",
        kept, len(variances), 100 * float(variances[:kept].sum() / variances.sum()),
    )  # fmt: skip
    scorer.fit(center, axes[:, :kept], variances[:kept])
    scorer.eval()
    scorer.combination.fit(scores_over(scorer.scores, good.validation, context.device))


def moments(part: Part, context: FitContext) -> tuple[Tensor, Tensor]:
    """Mean ``[D]`` and covariance ``[D, D]`` of flattened windows, float64 on the CPU; memory for one batch."""
    count = len(part)
    total = sum(batch.flatten(1).double().sum(dim=0) for batch in part.batches(BATCH))
    center = torch.as_tensor(total) / count
    covariance = torch.zeros(len(center), len(center), dtype=torch.float64)
    for batch in track(part.batches(BATCH), context.progress, "covariance", math.ceil(count / BATCH)):
        away = batch.flatten(1).double() - center
        covariance.addmm_(away.T, away)
    return center, covariance / max(1, count - 1)


def components(variances: Tensor, settings: Settings, count: int) -> int:
    """How many directions to keep, of variances ``[D]`` in descending order; at least one is left for Q.

    Raises:
        DataError: good windows that are all alike, or that do not spread into as many directions as were asked for.
    """
    usable = min(int((variances > LEAST_VARIANCE * variances[0]).sum()), len(variances) - 1)
    if not float(variances[0]) > 0:
        raise DataError(f"all {count} good windows for training are the same: there is nothing to learn from.")
    if settings.components is None:
        held = variances.cumsum(0) / variances.sum()
        return min(int((held < settings.explained).sum()) + 1, usable)
    if settings.components > usable:
        raise DataError(
            f"expected at most {usable} components ({len(variances)} values in a window, {count} good windows, one "
            f"direction left for Q, none that only rounding fills), got {settings.components}. Lower --components, or "
            "collect more."
        )
    return settings.components


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundLogs):
        raise DataError("pca judges windows of logs.")
    values = settings.steps * len(found.channels)
    if values > MOST_VALUES:
        raise ConfigError(
            f"pca takes windows of up to {MOST_VALUES} values, got {settings.steps} rows of {len(found.channels)} "
            f"channels. Lower --steps to {MOST_VALUES // len(found.channels)}."
        )
    if values < 2:
        raise ConfigError("pca wants at least 2 values in a window, got 1 row of 1 channel: raise --steps.")
    return structs.replace(window_spec(found, settings.steps, settings.hop), clip=CLIP)


def _build(settings: Settings, spec: InputSpec) -> Components:
    if not isinstance(spec, WindowSpec):
        raise DataError("pca judges windows of logs.")
    return Components(settings, spec)


def _score_rule(settings: Settings) -> ScoreRule:
    return ScoreRule(score=settings.decides)


TINY = Settings(steps=16, hop=8)

RECIPE = Recipe(
    name="pca",
    version=2,
    summary="windows of sensor channels, by principal components: T2 and Q; the baseline for windows",
    settings=Settings,
    tiny=TINY,
    variants={
        "t2": Settings(steps=16, hop=8, components=4, decides="t2"),
        "q": Settings(steps=2, hop=1, explained=0.5, decides="q"),
    },
    gives="window",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
)
