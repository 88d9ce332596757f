"""Principal components of windows of sensor channels: T2, the distance within the components, and Q, the distance from them.

The fit takes a second and uses no random numbers. If channels depend on each other linearly around one
state, the method is often better than more complex methods. Compare every network for windows with this baseline. T2
detects values that have the usual pattern but are too large. Q, the squared prediction error, detects channels that no
longer move together. The method does not detect nonlinear deviations. It models several states of a machine as one wide
distribution, and everything between them counts as good.

Sources: Hotelling (1947); Jackson and Mudholkar, Control procedures for residuals associated with principal component
analysis, Technometrics 21 (1979). Their limits are not used, because they assume independent rows with a normal
(Gaussian) distribution. With them, false alarms on the Tennessee Eastman process were 1.7 % (T2) and 7.1 % (Q) instead of
the requested 1 %. The threshold here is calibrated.

Windows of several rows are lagged values: dynamic PCA (Ku, Storer and Georgakis, Chemometrics 30, 1995). `--steps 1
--hop 1` judges row by row, as in textbooks. T2's map is the reconstruction-based contribution (Alcala and Qin,
Automatica 45, 2009).

Defaults were measured on the simulated converter, with 1 000 good windows and 20 faults of each kind at severity 1,
then .5. The AUROC of `combined` over disjoint windows was: spike 1.00, 1.00; oscillation .98, .90. For drift it was
.95, .94. With `explained` = 0.9, the AUROC is up to 0.2 lower. For 0.97 to 0.99, it differs by at most 0.04. With
windows of 32 rows, the AUROC of the drift is 0.13 lower, and with windows of 16 rows even lower. The defaults were
chosen on these data. Therefore, the results are optimistic.
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
from andon.training.recipe.wrong_data import expected_windows

logger = logging.getLogger(__name__)

MOST_VALUES = 4096
"""Largest number of values in a window, n.

The covariance matrix has n x n values (134 MB in float64) and is decomposed as a whole.
"""
CLIP = 1000.0
"""Number of standard deviations at which values are clipped.

Two matrix products need less protection from large values than networks do. With the usual 10, T2 of 11 components
missed .422 of the faulty rows of the Tennessee Eastman process; without clipping it missed .392. (1 % false alarms,
faults 3, 9, 15 left out.)
"""
LEAST_VARIANCE = 1e-5
"""Smallest usable variance, as a share of the largest. Along directions with less variance, T2 would consist of float32
rounding errors.

Q is floored at the same level. If channels rarely change, the kept directions reconstruct good windows exactly. The
residual is then rounding that differs by machine and batch size, and the tails of the scores must not be fitted to it.
"""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `pca`."""

    steps: Annotated[int, Meta(ge=1, description="length of a window; 1: judge row by row", extra={"unit": "rows"})] = (
        64
    )
    hop: Annotated[
        int, Meta(ge=1, description="distance between windows, in training and on the line", extra={"unit": "rows"})
    ] = 16
    components: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="number of kept directions; none: the smallest number that reaches `explained`"),
    ] = None
    explained: Annotated[
        float, Meta(gt=0.0, lt=1.0, description="smallest share of the variance in the kept directions")
    ] = 0.95
    decides: Annotated[
        Literal["t2", "q", "combined"],
        Meta(
            description="score that decides; combined: the rarer of both, by the share of validation windows that score as high"
        ),
    ] = "combined"


class Components(Scorer):
    """A scorer from ``[N, T, C]`` to ``t2``, ``q`` and ``combined``. Both matrix products use data minus `center`."""

    def __init__(self, settings: Settings, spec: WindowSpec) -> None:
        super().__init__()
        self.first = "contribution" if settings.decides == "t2" else "residual"  # the first map explains the verdict
        self.shape = (spec.steps, len(spec.channels))
        values = math.prod(self.shape)
        self.register_buffer("center", torch.zeros(values))
        # the number of components is known only after the fit; buffers take the shape of the stored tensors
        self.register_buffer("axes", torch.zeros(values, 1))
        self.register_buffer("variances", torch.ones(1))
        self.register_buffer("weights", torch.zeros(values))  # of each cell's contribution
        self.register_buffer("floor", torch.zeros(1))  # of Q
        self.combination = Combination(("t2", "q"))

    def forward(self, prepared: Tensor) -> Evidence:
        """Return two maps and the scores. The sum of the map ``residual`` is ``q``.

        The map ``contribution`` shows the contribution of each cell to ``t2``. Over good windows, the mean of each cell is 1.
        """
        residual, influence, scores = self._judge(prepared)
        maps = {
            "residual": (residual**2).reshape(-1, *self.shape),
            "contribution": (influence**2 * self.get_buffer("weights")).reshape(-1, *self.shape),
        }
        maps = {self.first: maps[self.first], **maps}
        # + 1: if most good windows are equal, their surprise is 0 except for rounding, and the tolerance between machines
        # is relative to the median score
        return Evidence(maps, scores | {"combined": 1 + self.combination(scores)})

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """Return ``t2`` and ``q``, each ``[N]``."""
        return self._judge(prepared)[2]

    def fit(self, center: Tensor, axes: Tensor, variances: Tensor) -> None:
        """Store mean ``[D]``, kept directions ``[D, k]`` and their variances ``[k]``, descending, float64."""
        own = (axes**2 / variances).sum(dim=1)
        # a constant channel has no share in any direction, except for rounding
        weights = torch.where(own > 1e-6 * own.max(), 1 / own, 0.0)
        device = self.get_buffer("center").device
        floor = LEAST_VARIANCE * variances[:1]
        fitted = {"center": center, "axes": axes, "variances": variances, "weights": weights, "floor": floor}
        for name, values in fitted.items():
            setattr(self, name, values.float().contiguous().to(device))

    def _judge(self, prepared: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        axes, variances = self.get_buffer("axes"), self.get_buffer("variances")
        away = prepared.flatten(1) - self.get_buffer(
            "center"
        )  # first, because otherwise squares would cancel in float32
        along = away @ axes
        # back into the window with one product: unchanged, for the residual, and divided by variance, for T2
        back = torch.stack([along, along / variances], dim=1) @ axes.T
        residual = away - back[:, 0]
        scores = {
            "t2": (along**2 / variances).sum(dim=1),
            "q": torch.maximum((residual**2).sum(dim=1), self.get_buffer("floor")),
        }
        return residual, back[:, 1], scores


def fit(scorer: Components, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Compute mean and covariance in two passes over the training set, decompose once, then fit the tails of the scores."""
    center, covariance = moments(good.train, context)
    ascending, vectors = torch.linalg.eigh(covariance)
    variances, axes = ascending.flip(0).clamp(min=0.0), vectors.flip(1)
    kept = components(variances, settings, len(good.train))
    logger.info(
        "%d of %d directions explain %.1f %% of the variance",
        kept, len(variances), 100 * float(variances[:kept].sum() / variances.sum()),
    )  # fmt: skip
    scorer.fit(center, axes[:, :kept], variances[:kept])
    scorer.eval()
    scorer.combination.fit(scores_over(scorer.scores, good.validation, context.device))


def moments(part: Part, context: FitContext) -> tuple[Tensor, Tensor]:
    """Return mean ``[D]`` and covariance ``[D, D]`` of flattened windows, float64 on the CPU, one batch at a time."""
    count = len(part)
    total = sum(batch.flatten(1).double().sum(dim=0) for batch in part.batches(BATCH))
    center = torch.as_tensor(total) / count
    covariance = torch.zeros(len(center), len(center), dtype=torch.float64)
    for batch in track(part.batches(BATCH), context.progress, "covariance", math.ceil(count / BATCH)):
        away = batch.flatten(1).double() - center
        covariance.addmm_(away.T, away)
    return center, covariance / max(1, count - 1)


def components(variances: Tensor, settings: Settings, count: int) -> int:
    """Return the number of directions to keep, from variances ``[D]`` in descending order; at least one is left for Q.

    Raises:
        DataError: all good windows are equal, or they vary in fewer directions than requested.
    """
    usable = min(int((variances > LEAST_VARIANCE * variances[0]).sum()), len(variances) - 1)
    if not float(variances[0]) > 0:
        raise DataError(f"all {count} good windows for training are the same. Record logs with varying values.")
    if settings.components is None:
        held = variances.cumsum(0) / variances.sum()
        return min(int((held < settings.explained).sum()) + 1, usable)
    if settings.components > usable:
        raise DataError(
            f"--components: expected at most {usable} for windows of {len(variances)} values and {count} good windows, got "
            f"{settings.components}. One direction is left for Q, and directions with rounding only do not count. Lower "
            "--components, or collect more good windows."
        )
    return settings.components


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundLogs):
        raise expected_windows("pca")
    values = settings.steps * len(found.channels)
    if values > MOST_VALUES:
        raise ConfigError(
            f"pca: expected windows of at most {MOST_VALUES} values, got {settings.steps} rows of {len(found.channels)} "
            f"channels. Lower --steps to {MOST_VALUES // len(found.channels)}."
        )
    if values < 2:
        raise ConfigError("pca: expected at least 2 values in a window, got 1 row of 1 channel. Increase --steps.")
    return structs.replace(window_spec(found, settings.steps, settings.hop), clip=CLIP)


def _build(settings: Settings, spec: InputSpec) -> Components:
    if not isinstance(spec, WindowSpec):
        raise expected_windows("pca")
    return Components(settings, spec)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    return ScoreRule(score=settings.decides)


TINY = Settings(steps=16, hop=8)

RECIPE = Recipe(
    name="pca",
    version=2,
    summary="windows of sensor channels: distances by principal components (T2 and Q); the baseline for windows",
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
