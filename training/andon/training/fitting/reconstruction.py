"""What the autoencoders share: settings, evidence, losses, and `--repair`. A detector adds the network that rebuilds.

Plain, the difference between a frame and its reconstruction judges. With `--repair` the network learns to restore damaged
pictures, and a segmentation head on [input, reconstruction] judges (`repair.py`).
"""

from typing import Annotated, Literal

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
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
"""How much more a damaged pixel counts than another in what is to be restored."""
FOCAL = 10.0
"""Weight of the head's loss beside that of the reconstruction."""


LIGHT = 0.1
"""How much light is varied unless said otherwise."""


class Rebuilding(Plan, frozen=True, kw_only=True):
    """Settings of a detector that rebuilds frames. What is None depends on `repair`."""

    repair: Annotated[
        bool, Meta(description="learn to restore synthetic damage, and judge by a head that marks it")
    ] = False
    size: Annotated[
        Annotated[int, Meta(ge=16, multiple_of=8)] | None,
        Meta(
            description="side of what the network sees, a multiple of 8; where not given 128, with --repair 192",
            extra={"unit": "px"},
        ),
    ] = None
    narrow: Annotated[
        Annotated[int, Meta(ge=1, le=32)] | None,
        Meta(
            description="divides all widths: 1 is the published network, 4 sixteen times cheaper; where not given 1, with "
            "--repair 4"
        ),
    ] = None
    head_width: Annotated[
        Annotated[int, Meta(ge=2, le=128)] | None,
        Meta(description="of the head's first level, with --repair; where not given 16", extra={"unit": "channels"}),
    ] = None
    symmetry: Annotated[
        Symmetry,
        Meta(
            description="how good parts may be moved and still be good, with --repair: mirror left to right, quarters of a turn, "
            "turns by any 15 degrees, each of these with mirroring; auto tells from the pictures, and is strict"
        ),
    ] = "auto"
    light: Annotated[
        Annotated[float, Meta(ge=0.0, le=0.5)] | None,
        Meta(
            description="how much the light on good pictures is varied with --repair, as the standard deviation of its "
            "logarithm; 0: not at all; where not given 0.1"
        ),
    ] = None
    loss_l1: Annotated[float, Meta(ge=0.0, description="weight of the absolute difference in the loss")] = 1.0
    loss_mse: Annotated[float, Meta(ge=0.0, description="weight of the squared difference")] = 0.0
    loss_ssim: Annotated[float, Meta(ge=0.0, description="weight of 1 - SSIM")] = 0.0
    loss_ms_ssim: Annotated[
        float, Meta(ge=0.0, description="weight of 1 - MS-SSIM, over five scales; needs more than 96 px")
    ] = 0.0
    evidence: Annotated[
        Literal["l1", "ssim", "head"] | None,
        Meta(
            description="what decides: absolute difference, 1 - SSIM, or the head's map; the others are reported; where not "
            "given l1, with --repair head"
        ),
    ] = None
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map becomes a score")] = "top"
    share: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | None,
        Meta(
            description="of the map's highest values that ``top`` averages; where not given 0.01, of the head's map 0.003"
        ),
    ] = None
    smooth: Annotated[
        Annotated[float, Meta(ge=0.0)] | None,
        Meta(
            description="standard deviation of the map's Gaussian; where not given 0, of the head's map 2",
            extra={"unit": "px"},
        ),
    ] = None
    epochs: Annotated[
        int, Meta(ge=1, description="passes over the training part at most", extra={"unit": "epochs"})
    ] = 45
    epoch_parts: Annotated[
        int,
        Meta(
            ge=0,
            description="frames that count as an epoch; 0: the whole training part, with --repair 192 drawn ones",
            extra={"unit": "frames"},
        ),
    ] = 0
    batch_size: Annotated[
        int, Meta(ge=0, description="frames a step, at least 2; 0: 8, with --repair 4", extra={"unit": "frames"})
    ] = 0
    learning_rate: Annotated[float, Meta(gt=0.0, description="of Adam, at the start")] = 2e-3
    plateau_patience: Annotated[
        int, Meta(ge=0, description="epochs without a better validation loss before the learning rate is halved")
    ] = 8

    @property
    def by_cosine(self) -> bool:
        """With repair, unless told otherwise: its validation is of kinds of damage that are not learnt, and jumps."""
        return self.schedule == "cosine" or (self.repair and self.schedule == "auto")

    @property
    def side(self) -> int:
        """Of what the network sees, in pixels."""
        return self.size or (192 if self.repair else 128)

    @property
    def divisor(self) -> int:
        """Of all widths."""
        return self.narrow or (4 if self.repair else 1)

    @property
    def loss_weights(self) -> LossWeights:
        """Of the reconstruction's loss."""
        return LossWeights(self.loss_l1, self.loss_mse, self.loss_ssim, self.loss_ms_ssim)


class Rebuilder(Scorer):
    """``[N, C, h, w]`` in 0 to 1 to maps of what could not be rebuilt, or of what the head marks."""

    def __init__(self, network: nn.Module, channels: int, settings: Rebuilding) -> None:
        super().__init__()
        self.network = network
        self.dissimilarity = Dissimilarity(channels)
        self.head = Head(channels, settings.head_width or 16) if settings.repair else None

    def rebuild(self, prepared: Tensor) -> Tensor:
        """``[N, C, h, w]`` in 0 to 1."""
        rebuilt: Tensor = self.network(prepared)
        return rebuilt

    def forward(self, prepared: Tensor) -> Evidence:
        """``l1``: absolute difference, 0 to 1; ``ssim``: 1 - SSIM, 0 to 2; both are means over the channels.

        ``head``: minus the logarithm of the chance that a cell is good, on half the grid; only with a head.
        """
        rebuilt = self.rebuild(prepared)
        maps = {
            "l1": (prepared - rebuilt).abs().mean(dim=1),
            "ssim": self.dissimilarity(prepared, rebuilt).mean(dim=1),
        }
        if self.head is not None:
            # unlike a probability it does not run into 1 where many defects would score alike
            maps = {"head": nn.functional.softplus(self.head(prepared, rebuilt).squeeze(1))} | maps
        return Evidence(maps, {}, {"reconstruction": rebuilt})


def fit(scorer: Rebuilder, good: TrainingData, settings: Rebuilding, context: FitContext) -> None:
    """Go down the reconstruction's loss; with a head, over damaged pictures, and the head's with it."""
    weights = settings.loss_weights
    # convolutions are up to a third faster so
    scorer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def plain(net: Rebuilder, batch: Tensor, _warmth: float) -> Tensor:
        batch = batch.contiguous(memory_format=torch.channels_last)
        rebuilt = net.rebuild(batch)
        with torch.autocast(batch.device.type, enabled=False):  # the variances of SSIM drown in half precision
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
        pool = Pool(score_rule(settings), FrameSpec(channels=3, size=(settings.side, settings.side))).to(context.device)

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
        )
        descend(scorer, good, restore, plan, context, feed=feed, heavy=True)
    else:
        descend(scorer, good, plain, plan, context, heavy=True)
    scorer.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def wanted_input(settings: Rebuilding, found: Found) -> InputSpec:
    """Frames, grey or RGB, in 0 to 1: the sigmoid's range.

    Raises:
        DataError: logs.
        ConfigError: settings that do not fit each other.
    """
    if not isinstance(found, FoundFrames):
        raise DataError("autoencoders judge frames.")
    settings.loss_weights.check(settings.side)
    if settings.batch_size == 1:
        raise ConfigError("--batch-size: expected 2 or more frames a step, or 0 for the usual number, got 1.")
    check_share(settings)
    if not settings.repair:
        for flag, given in (
            ("--evidence head", settings.evidence == "head"),
            ("--head-width", settings.head_width is not None),
            ("--symmetry", settings.symmetry != "auto"),
            ("--light", settings.light is not None),
        ):
            if given:
                raise ConfigError(f"{flag} needs --repair: without it nothing is damaged and there is no head.")
    elif settings.side % 32 or settings.side < 64:
        raise ConfigError(f"--repair needs a --size that is a multiple of 32 and at least 64, got {settings.side}.")
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(settings.side, settings.side))


def score_rule(settings: Rebuilding) -> ScoreRule:
    """The head's smoothed map, or what the settings name."""
    decides = settings.evidence or ("head" if settings.repair else "l1")
    if decides == "head":
        smooth = 1.0 if settings.smooth is None else settings.smooth / 2  # its cells are two pixels wide
        return ScoreRule(map="head", pool=settings.pool, share=settings.share or 0.003, smooth=smooth)
    return ScoreRule(map=decides, pool=settings.pool, share=settings.share or 0.01, smooth=settings.smooth or 0.0)


def frame_spec(spec: InputSpec) -> FrameSpec:
    """The specification of frames.

    Raises:
        DataError: it is of windows.
    """
    if not isinstance(spec, FrameSpec):
        raise DataError("autoencoders judge frames.")
    return spec


WIDTHS = (32, 64, 128, 256)
"""Of the published networks, from the finest level to the bottleneck."""
