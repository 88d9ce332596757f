"""Shared code of the autoencoders: settings, evidence, losses and `--repair`. A detector adds its network.

By default the score is the difference between a frame and its reconstruction. With `--repair` the network is trained to
restore damaged pictures, and a segmentation head on [input, reconstruction] gives the score (`repair.py`).
"""

from typing import Annotated, Literal

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.export.masks import FillIgnored, judged_pixels
from andon.export.pooling import Pool
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.fitting.gradient_descent import Plan, descend
from andon.training.fitting.repair import Damage, DamageFeed, Head, focal_loss
from andon.training.fitting.symmetry import Symmetry
from andon.training.nets.ssim import Dissimilarity, LossWeights, rebuilding_loss
from andon.training.recipe.recipe import FitContext, TrainingData
from andon.training.recipe.top_share import check_share

EMPHASIS = 5.0
"""Additional weight of a damaged pixel in the reconstruction loss; other pixels have weight 1."""
FOCAL = 10.0
"""Weight of the head's loss relative to the reconstruction loss."""


LIGHT = 0.1
"""Default variation of light."""


class Rebuilding(Plan, frozen=True, kw_only=True):
    """Settings of a detector that reconstructs frames. The default of a setting that is None depends on `repair`."""

    repair: Annotated[
        bool,
        Meta(
            description="train on synthetic damage: the network removes it, and a head that marks damage gives the score"
        ),
    ] = False
    size: Annotated[
        Annotated[int, Meta(ge=16, multiple_of=8)] | None,
        Meta(
            description="side of the square that the network sees, a multiple of 8; none: 128, or 192 with --repair",
            extra={"unit": "px"},
        ),
    ] = None
    narrow: Annotated[
        Annotated[int, Meta(ge=1, le=32)] | None,
        Meta(
            description=(
                "divisor of all widths: 1 is the published network, 4 is sixteen times cheaper. none: 1, or 4 with "
                "--repair"
            )
        ),
    ] = None
    head_width: Annotated[
        Annotated[int, Meta(ge=2, le=128)] | None,
        Meta(description="width of the head's first level, with --repair; none: 16", extra={"unit": "channels"}),
    ] = None
    symmetry: Annotated[
        Symmetry,
        Meta(
            description=(
                "moves after which good parts are still good, with --repair: mirroring left to right (mirror), also "
                "rotations by quarters of a turn (quarters), or by multiples of 15 degrees (turns). auto: derived "
                "from the good pictures by a strict test"
            )
        ),
    ] = "auto"
    light: Annotated[
        Annotated[float, Meta(ge=0.0, le=0.5)] | None,
        Meta(
            description=(
                "variation of the light on good pictures, with --repair, as the standard deviation of its logarithm; "
                "none: 0.1"
            )
        ),
    ] = None
    loss_l1: Annotated[float, Meta(ge=0.0, description="weight of the absolute difference in the loss")] = 1.0
    loss_mse: Annotated[float, Meta(ge=0.0, description="weight of the squared difference in the loss")] = 0.0
    loss_ssim: Annotated[float, Meta(ge=0.0, description="weight of 1 - SSIM in the loss")] = 0.0
    loss_ms_ssim: Annotated[
        float, Meta(ge=0.0, description="weight of 1 - MS-SSIM, over five scales, in the loss; needs more than 96 px")
    ] = 0.0
    evidence: Annotated[
        Literal["l1", "ssim", "head"] | None,
        Meta(
            description=(
                "map that decides: absolute difference, 1 - SSIM, or the head's map; the others are also reported. "
                "none: l1, or head with --repair"
            )
        ),
    ] = None
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map becomes a score")] = "top"
    share: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | None,
        Meta(
            description=(
                "with --pool top: score = mean of the highest values; this is their share of all values. "
                "none: 0.01, or 0.003 for the head's map"
            )
        ),
    ] = None
    smooth: Annotated[
        Annotated[float, Meta(ge=0.0)] | None,
        Meta(
            description="standard deviation of the Gaussian that smooths the map; none: 0, or 2 for the head's map",
            extra={"unit": "px"},
        ),
    ] = None
    epochs: Annotated[
        int, Meta(ge=1, description="largest number of passes over the training set", extra={"unit": "epochs"})
    ] = 45
    epoch_parts: Annotated[
        int,
        Meta(
            ge=0,
            description="frames that count as one epoch; 0: the whole training set, or 192 random frames with --repair",
            extra={"unit": "frames"},
        ),
    ] = 0
    batch_size: Annotated[
        int,
        Meta(
            ge=0,
            description="frames per step, at least 2. The value 0 selects 8, or 4 with --repair",
            extra={"unit": "frames"},
        ),
    ] = 0
    learning_rate: Annotated[float, Meta(gt=0.0, description="initial learning rate of Adam")] = 2e-3
    plateau_patience: Annotated[
        int, Meta(ge=0, description="epochs without a better validation loss before the learning rate is halved")
    ] = 8

    @property
    def by_cosine(self) -> bool:
        """True for a cosine schedule, which is the default with `repair`.

        With `repair`, validation uses kinds of damage that training does not, so its loss is too noisy for a plateau
        schedule.
        """
        return self.schedule == "cosine" or (self.repair and self.schedule == "auto")

    @property
    def side(self) -> int:
        """Side of the square that the network sees, in pixels."""
        return self.size or (192 if self.repair else 128)

    @property
    def divisor(self) -> int:
        """Divisor of all widths."""
        return self.narrow or (4 if self.repair else 1)

    @property
    def loss_weights(self) -> LossWeights:
        """Weights of the reconstruction loss."""
        return LossWeights(self.loss_l1, self.loss_mse, self.loss_ssim, self.loss_ms_ssim)


class Rebuilder(Scorer):
    """A scorer from ``[N, C, h, w]`` in 0 to 1 to maps of reconstruction errors, or of damage that the head marks."""

    def __init__(self, network: nn.Module, spec: FrameSpec, settings: Rebuilding) -> None:
        super().__init__()
        channels = spec.channels
        self.spec = spec
        self.network = network
        self.fill = FillIgnored(spec)
        self.dissimilarity = Dissimilarity(channels)
        self.head = Head(channels, settings.head_width or 16) if settings.repair else None

    def rebuild(self, prepared: Tensor) -> Tensor:
        """Return reconstructions, ``[N, C, h, w]`` in 0 to 1. Pixels that do not count are as in prepared frames."""
        rebuilt: Tensor = self.fill(self.network(prepared))
        return rebuilt

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the evidence: maps ``l1``, ``ssim`` and, with a head, ``head``, and the reconstruction.

        ``l1`` is the absolute difference, 0 to 1. ``ssim`` is 1 - SSIM, 0 to 2. Both are means over the channels.

        ``head`` is minus the logarithm of the probability that a cell is good, on a grid of half the size.
        """
        rebuilt = self.rebuild(prepared)
        maps = {
            "l1": (prepared - rebuilt).abs().mean(dim=1),
            "ssim": self.dissimilarity(prepared, rebuilt).mean(dim=1),
        }
        if self.head is not None:
            # A probability saturates at 1, where many defects would get the same score; this does not.
            maps = {"head": nn.functional.softplus(self.head(prepared, rebuilt).squeeze(1))} | maps
        return Evidence(maps, {}, {"reconstruction": rebuilt})


def fit(scorer: Rebuilder, good: TrainingData, settings: Rebuilding, context: FitContext) -> None:
    """Minimise the reconstruction loss; with a head, minimise both losses on damaged pictures."""
    weights = settings.loss_weights
    # convolutions are up to a third faster with channels last
    scorer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def plain(net: Rebuilder, batch: Tensor, _warmth: float) -> Tensor:
        batch = batch.contiguous(memory_format=torch.channels_last)
        rebuilt = net.rebuild(batch)
        with torch.autocast(batch.device.type, enabled=False):  # half precision is too coarse for the variances of SSIM
            return rebuilding_loss(rebuilt.float(), batch, weights, net.dissimilarity)

    def restore(net: Rebuilder, batch: Damage, _warmth: float) -> Tensor:
        assert net.head is not None
        after = batch.after.contiguous(memory_format=torch.channels_last)
        rebuilt = net.rebuild(after)
        logits = net.head(after, rebuilt)
        with torch.autocast(after.device.type, enabled=False):
            restored = rebuilding_loss(
                rebuilt.float(), batch.before, weights, net.dissimilarity, 1 + EMPHASIS * batch.mask
            )
            return restored + FOCAL * focal_loss(logits, batch.mask)

    plan = msgspec.structs.replace(
        settings,
        batch_size=settings.batch_size or (4 if settings.repair else 8),
        epoch_parts=settings.epoch_parts or (192 if settings.repair else 0),
    )
    if settings.repair:
        pool = Pool(score_rule(settings), scorer.spec).to(context.device)

        def score(net: Rebuilder, prepared: Tensor) -> tuple[Tensor, Tensor]:
            outputs = pool(net(prepared))
            return outputs["score"], outputs["anomaly_map"]

        feed = DamageFeed(
            good,
            seed=context.seed,
            epochs=settings.epochs,
            symmetry=settings.symmetry,
            light=LIGHT if settings.light is None else settings.light,
            score=score,
            judged=judged_pixels(scorer.spec),
        )
        descend(scorer, good, restore, plan, context, feed=feed, heavy=True)
    else:
        descend(scorer, good, plain, plan, context, heavy=True)
    scorer.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def wanted_input(settings: Rebuilding, found: Found) -> InputSpec:
    """Return the input: grey or RGB frames in 0 to 1, the range of the sigmoid.

    Raises:
        DataError: the data are logs.
        ConfigError: settings contradict each other.
    """
    if not isinstance(found, FoundFrames):
        raise DataError("autoencoders judge frames, not windows of logs. For logs use window_vae or pca.")
    settings.loss_weights.check(settings.side)
    if settings.batch_size == 1:
        raise ConfigError("--batch-size: expected 2 or more frames per step, or 0 for the default, got 1.")
    check_share(settings)
    if not settings.repair:
        for flag, given in (
            ("--evidence head", settings.evidence == "head"),
            ("--head-width", settings.head_width is not None),
            ("--symmetry", settings.symmetry != "auto"),
            ("--light", settings.light is not None),
        ):
            if given:
                raise ConfigError(f"{flag} needs --repair. Without it there is no damage to restore and no head.")
    elif settings.side % 32 or settings.side < 64:
        raise ConfigError(f"--size: expected a multiple of 32, at least 64, with --repair, got {settings.side}.")
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(settings.side, settings.side))


def score_rule(settings: Rebuilding) -> ScoreRule:
    """Return the rule for the map that the settings name; by default L1, or the head's smoothed map with `repair`."""
    decides = settings.evidence or ("head" if settings.repair else "l1")
    if decides == "head":
        smooth = 1.0 if settings.smooth is None else settings.smooth / 2  # its cells are two pixels wide
        return ScoreRule(map="head", pool=settings.pool, share=settings.share or 0.003, smooth=smooth)
    return ScoreRule(map=decides, pool=settings.pool, share=settings.share or 0.01, smooth=settings.smooth or 0.0)


def frame_spec(spec: InputSpec) -> FrameSpec:
    """Return the specification if it is of frames.

    Raises:
        DataError: the specification is of windows.
    """
    if not isinstance(spec, FrameSpec):
        raise DataError("autoencoders judge frames, not windows of logs. For logs use window_vae or pca.")
    return spec


WIDTHS = (32, 64, 128, 256)
"""Widths of the published networks, from the finest level to the bottleneck."""
