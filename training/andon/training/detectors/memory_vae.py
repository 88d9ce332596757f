"""Rebuilds a frame from remembered prototypes: what no mixture of them gives back is new to it. And it generates new good parts.

Encoder, a memory of prototypes (items), decoder. A code is compared with all items (softmax attention), small weights are
shrunk to nothing, and the decoder gets the mixture of what is left, by default with the code itself beside it, a quarter of
which is dropped in training. Works for small pictures whose good parts are variations of one theme: digits, centred parts.
Does not for fine texture, which it blurs, or where good parts hold everything (CIFAR-10: docs/results.md). A verdict tells
which items the part was compared with (evidence ``memory_items``), `andon sample RUN --memory` draws what they decode to.

Memory and variational code are switched by ``--no-memory`` and ``--vae``, sizes follow the pictures: the eight nets of the
reference project (AE, VAE, memory AE, memory VAE; 28 x 28 x 1 and 32 x 32 x 3) are settings of this one.

Loss: squared error, or cross-entropy, summed over pixels and channels, + beta * KL (summed over latent numbers) + entropy
weight * entropy of the addressing (mean over positions), all averaged over the batch; KL and entropy come in over the
warm-up. The published entropy weight, .0002 beside a mean over pixels, is .16 here at 28 x 28. At judging nothing is drawn.

A memory can die: all codes read the same few items. Against that, items are laid out by k-means++ over the encoder's codes
before the first and the second epoch, unused ones are laid out anew during the first half of the training, and codes and items
are compared by direction with a learnt temperature. The history tells how much of the memory is in use, and a collapsed one
is warned of. With ``--similarity dot`` as in the official code, 5 to 12 % of it were in use, even so laid out.

Defaults were chosen without any other digit: on MNIST 2, 4 and 7 against held-out pictures of the same digit, turned,
mirrored or transposed, and on Fashion-MNIST (classes 0 and 7 against the rest, training part), 600 pictures to learn from. The
plain error's AUROC on 2 and 4: memory alone .93 and .97 (first temperature 10), .95 and .97 (40), one code a position .93 and
.98; beside the code, half of it dropped, .98 and .98, a quarter .99 and .99; no memory .99 and .99. Divided by the picture's
contrast it rises on digits (.988 to .992 on 2) and falls a little on Fashion-MNIST (.921 to .918, without a memory).

Source: Gong et al., Memorizing Normality to Detect Anomaly (MemAE, ICCV 2019; `nets.prototype_memory`); Kingma and Welling
(2014).
"""

import logging
from typing import Annotated, Literal

import torch
from msgspec import Meta, structs
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.export.pooling import Pool, Smooth
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.fitting.gradient_descent import ClipNorm, Plan, descend
from andon.training.fitting.memory_feed import SEEN, MemoryFeed, encoded
from andon.training.nets.memory_autoencoder import Design, MemoryAutoencoder, Rebuilt
from andon.training.nets.prototype_memory import entropy, in_use, usage
from andon.training.nets.surprise import Combination, scores_over
from andon.training.nets.variational import divergence, notes_on_beta
from andon.training.recipe.recipe import FitContext, Recipe, TrainingData
from andon.training.recipe.small_frames import SIZE, size_seen
from andon.training.recipe.top_share import check_share
from andon.training.sampling.memory import lone_items, neighbours

logger = logging.getLogger(__name__)

COLLAPSED = 0.05
"""Share of items in use below which a memory is called collapsed; fewer than two always are."""
LEAST_CONTRAST = 0.01
"""Added to the standard deviation of a picture's pixels, which are 0 to 1."""
KEPT_CODES = 512
"""Parts whose codes are kept to draw new parts from."""
NEAR_ONE = 0.5
"""Weight of the KL term from which on codes follow the prior well enough to draw from it."""

_Width = Annotated[int, Meta(ge=1, le=1024)]


class Settings(Plan, frozen=True, kw_only=True):
    """Of `memory_vae`. What is None follows the pictures: grey or colour."""

    memory: Annotated[bool, Meta(description="read the code from a memory of prototypes; without: a plain (V)AE")] = (
        True
    )
    vae: Annotated[bool, Meta(description="a variational code: its latent numbers are drawn in training")] = False
    size: Annotated[Annotated[int, Meta(ge=16, le=256)] | None, SIZE] = None
    widths: Annotated[
        Annotated[tuple[_Width, ...], Meta(min_length=1, max_length=5)] | None,
        Meta(
            description="channels of the encoder's convolutions, each halves the sides; the decoder mirrors them; where not "
            "given 16,32,64, in colour 32,64,64"
        ),
    ] = None
    per: Annotated[
        Literal["image", "position"],
        Meta(description="one code an image, or one at each position of the encoder's last map (4 x 4 from 28 x 28)"),
    ] = "image"
    code: Annotated[int, Meta(ge=1, le=4096, description="numbers of a code, and of an item")] = 16
    latent: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(description="latent numbers a code is made from, with --vae; where not given 16"),
    ] = None
    beta: Annotated[
        Annotated[float, Meta(ge=0.0)] | None,
        Meta(description="weight of the KL term, with --vae; near 0 it is no VAE; where not given 0.1"),
    ] = None
    items: Annotated[
        Annotated[int, Meta(ge=2, le=10_000)] | None,
        Meta(description="prototypes in the memory; where not given 100, in colour 500"),
    ] = None
    similarity: Annotated[
        Literal["cosine", "dot"],
        Meta(description="of codes and items: by direction with a learnt temperature, or the plain product"),
    ] = "cosine"
    shrink: Annotated[
        float,
        Meta(ge=0.0, le=1000.0, description="addressing weights below this many times 1 / items become nothing"),
    ] = 1.0
    entropy_weight: Annotated[
        float, Meta(ge=0.0, description="weight of the entropy of the addressing: sparser with more")
    ] = 0.1
    combine: Annotated[
        Literal["replace", "concatenate"],
        Meta(
            description="the decoder gets the read-out in place of the code, or both; then anomalies can go past the memory, "
            "and part of the code is dropped in training"
        ),
    ] = "concatenate"
    code_dropout: Annotated[
        Annotated[float, Meta(ge=0.0, lt=1.0)] | None,
        Meta(
            description="share of the code that is dropped in training, with --combine concatenate; where not given 0.25"
        ),
    ] = None
    initial: Annotated[
        Literal["codes", "random"], Meta(description="items begin as codes far from each other, or at random")
    ] = "codes"
    reseed: Annotated[
        bool, Meta(description="lay out items anew that no code reads, during the first half of the epochs")
    ] = True
    loss: Annotated[
        Literal["mse", "bce"],
        Meta(
            description="of the reconstruction; with bce, --vae, --beta 1 and no entropy weight the loss is minus the ELBO"
        ),
    ] = "mse"
    decides: Annotated[
        Literal["error", "relative", "memory", "combined"],
        Meta(
            description="the score that decides: the squared difference to what is rebuilt; the same, blurred before it is "
            "squared and divided by the picture's contrast; the code's distance from what the memory holds of it; or the most "
            "surprising of all, by the validation part"
        ),
    ] = "relative"
    blur: Annotated[
        float,
        Meta(
            gt=0.0,
            le=16.0,
            description="of ``relative``: standard deviation of the Gaussian; lines that lie a little aside count less, missing "
            "ones as much as ever",
            extra={"unit": "px"},
        ),
    ] = 1.0
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map of errors becomes a score")] = "mean"
    share: Annotated[float, Meta(gt=0.0, le=1.0, description="of the map's highest values that ``top`` averages")] = (
        0.05
    )
    epochs: Annotated[int, Meta(ge=1, description="epochs at most", extra={"unit": "epochs"})] = 40
    epoch_parts: Annotated[
        int,
        Meta(ge=0, description="frames that count as an epoch; 0: the whole training part", extra={"unit": "frames"}),
    ] = 2000
    batch_size: Annotated[int, Meta(ge=2, description="frames a step", extra={"unit": "frames"})] = 64
    learning_rate: Annotated[float, Meta(gt=0.0, description="of Adam, at the start")] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="of Adam")] = 0.0
    clip_norm: ClipNorm = 100.0
    warm_up: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which KL and entropy come in")
    ] = 0.2

    @property
    def by_cosine(self) -> bool:
        """Unless told otherwise."""
        return self.schedule != "plateau"

    @property
    def posterior(self) -> tuple[int, float]:
        """Latent numbers and weight of the KL term, with `vae`."""
        return self.latent or 16, 0.1 if self.beta is None else self.beta


def design_of(settings: Settings, spec: FrameSpec) -> Design:
    """Sizes as asked for, or as they suit grey or coloured pictures."""
    colour = spec.channels > 1
    dropout = 0.25 if settings.code_dropout is None else settings.code_dropout
    return Design(
        channels=spec.channels,
        size=spec.size,
        widths=settings.widths or ((32, 64, 64) if colour else (16, 32, 64)),
        per=settings.per,
        code=settings.code,
        latent=settings.posterior[0] if settings.vae else None,
        items=(settings.items or (500 if colour else 100)) if settings.memory else 0,
        similarity=settings.similarity,
        shrink=settings.shrink,
        code_dropout=dropout if settings.combine == "concatenate" else None,
    )


class MemoryVAE(MemoryAutoencoder, Scorer):
    """The net with its scores."""

    def __init__(self, settings: Settings, design: Design) -> None:
        super().__init__(design)
        self.settings = settings
        self.blur = Smooth(settings.blur)
        spec = FrameSpec(channels=3, size=design.size)
        self.pools = nn.ModuleDict({name: Pool(_score_rule_of(settings, name), spec) for name in ("error", "relative")})
        self.combination = Combination(self._score_names())
        # of training parts: codes to draw new parts from, and each item's share of what is read
        self.register_buffer("codes", torch.zeros(1, self.positions, settings.code))
        self.register_buffer("usage", torch.zeros(design.items))

    def forward(self, prepared: Tensor) -> Evidence:
        """Maps ``error`` and ``relative``: squared differences, means over channels; scores as `scores` gives them."""
        maps, scores, rebuilt = self._judge(prepared)
        tables = {"latent": (rebuilt.codes if self.mean is None else rebuilt.mean).mean(dim=1)}
        if self.memory is not None:
            tables["memory_items"] = rebuilt.weights.mean(dim=1)
        further = {name: score for name, score in scores.items() if name not in maps}  # the maps give those
        combined = {"combined": self.combination(scores)}
        return Evidence(maps, further | combined, {"reconstruction": rebuilt.logits.sigmoid()}, tables)

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """``[N]`` each: ``error`` and ``relative``, pooled as asked; ``memory`` with a memory; ``divergence`` with `vae`."""
        return self._judge(prepared)[1]

    def _judge(self, prepared: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Rebuilt]:
        rebuilt = self.rebuild(prepared)
        difference = prepared - rebuilt.logits.sigmoid()
        blurred = self.blur(difference.flatten(0, 1)).unflatten(0, difference.shape[:2])
        contrast = prepared.flatten(1).std(dim=1, correction=0) + LEAST_CONTRAST
        maps = {
            "error": difference.square().mean(dim=1),
            "relative": blurred.square().mean(dim=1) / contrast.view(-1, 1, 1),
        }
        scores = {name: self.pools[name](Evidence({name: values}, {}))["score"] for name, values in maps.items()}
        if self.memory is not None:
            scores["memory"] = (rebuilt.codes - self.memory.read(rebuilt.weights)).square().mean(dim=(1, 2))
        if self.mean is not None:
            scores["divergence"] = divergence(rebuilt.mean, rebuilt.log_variance, dim=(1, 2))
        return maps, scores, rebuilt

    def _score_names(self) -> tuple[str, ...]:
        further = ["memory"] * self.settings.memory + ["divergence"] * self.settings.vae
        return ("error", "relative", *further)


def loss(scorer: MemoryVAE, batch: Tensor, warmth: float) -> Tensor:
    """Error + beta * KL + entropy, as the module's docstring says."""
    settings, rebuilt = scorer.settings, scorer.rebuild(batch)
    if settings.loss == "bce":
        pixels = nn.functional.binary_cross_entropy_with_logits(rebuilt.logits, batch, reduction="none")
    else:
        pixels = (rebuilt.logits.sigmoid() - batch).square()
    total = pixels.sum(dim=(1, 2, 3)).mean()
    if settings.vae:
        total = (
            total + settings.posterior[1] * warmth * divergence(rebuilt.mean, rebuilt.log_variance, dim=(1, 2)).mean()
        )
    if settings.memory and settings.entropy_weight:
        total = total + settings.entropy_weight * warmth * entropy(rebuilt.weights).mean()
    return total


def fit(scorer: MemoryVAE, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Go down the loss while the memory is kept alive."""
    feed = MemoryFeed(
        scorer,
        good,
        seed=context.seed,
        begin_as_codes=settings.initial == "codes",
        reseed_until=settings.epochs // 2 if settings.reseed else 0,
    )
    descend(scorer, good, loss, settings, context, feed=feed)


def finalize(scorer: MemoryVAE, good: TrainingData, settings: Settings, device: torch.device) -> None:  # noqa: ARG001 - a Recipe's
    """Keep codes, the use of items and the tails of the scores."""
    with torch.no_grad():
        codes = encoded(scorer, good.train, KEPT_CODES)[0]
        scorer.codes = codes
        if scorer.memory is not None:
            scorer.usage = usage(scorer.address(encoded(scorer, good.train, SEEN)[0]))
            read = int(in_use(scorer.usage).sum())
            if read < max(2, COLLAPSED * len(scorer.usage)):
                logger.warning(
                    "the memory has collapsed: %d of %d items are in use; try --similarity cosine, --reseed, a lower "
                    "--entropy-weight or fewer --items",
                    read,
                    len(scorer.usage),
                )
    scorer.combination.fit(scores_over(scorer.scores, good.validation, device))


def sample(scorer: nn.Module, settings: Settings, count: int, generator: Generator) -> Tensor:
    """New parts: from the prior where a variational code follows it, else from between what two training parts read.

    A training part is drawn, and one of those most like it; a mixture of what both read, by a share that is drawn too,
    is decoded. So prototypes come together as they do in good parts, never evenly.

    Raises:
        ConfigError: nothing to draw from.
    """
    assert isinstance(scorer, MemoryVAE)
    kept = scorer.get_buffer("codes")
    prior = settings.vae and settings.per == "image" and settings.posterior[1] >= NEAR_ONE
    if prior:
        latent = torch.randn((count, 1, settings.posterior[0]), generator=generator).to(kept.device)
        codes = scorer.to_code(latent)
        return scorer.decode(codes, scorer.address(codes)).sigmoid()
    if not settings.memory:
        raise ConfigError(f"this memory_vae generates nothing: {_why_not(settings)}.")
    first, second, share = neighbours(kept, count, generator)
    codes = torch.lerp(first, second, share)
    weights = torch.lerp(scorer.address(first), scorer.address(second), share)
    return scorer.decode(codes, weights).sigmoid()


def _why_not(settings: Settings) -> str:
    if not settings.vae:
        return "without a memory (--no-memory) and without --vae nothing tells which codes are those of good parts"
    if settings.per == "position":
        return "with --per position the codes of one picture belong together, and the prior draws each by itself"
    return (
        f"with --beta {settings.posterior[1]:g} it is nearly a plain autoencoder, whose codes do not follow the prior; train "
        f"with --beta of {NEAR_ONE:g} to 1 or more, or with a memory"
    )


def prototypes(scorer: nn.Module, _settings: Settings) -> tuple[Tensor, Tensor]:
    """What each item alone decodes to ``[M, C, h, w]``, and its share of what training parts read ``[M]``.

    With a code at each position an item fills its place of most use, in a picture that reads as good parts do on average.

    Raises:
        ConfigError: a run without a memory.
    """
    assert isinstance(scorer, MemoryVAE)
    if scorer.memory is None:
        raise ConfigError("this memory_vae went without a memory (--no-memory): there is nothing to show.")
    weights = lone_items(scorer.address(scorer.get_buffer("codes")))
    codes = scorer.memory.read(weights)  # in place of the encoding too, where the decoder gets both
    return scorer.decode(codes, weights).sigmoid(), scorer.get_buffer("usage")


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise DataError("memory_vae judges frames.")
    _refuse_idle(settings)
    check_share(settings)
    height, width = size_seen(found, settings.size)
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(max(height, 16), max(width, 16)))


def _refuse_idle(settings: Settings) -> None:
    """Settings that would do nothing are refused."""
    default = Settings()
    needs = {
        "memory": ("items", "similarity", "shrink", "entropy_weight", "combine", "code_dropout", "initial", "reseed"),
        "vae": ("latent", "beta"),
    }
    for switch, names in needs.items():
        for name in names:
            if not getattr(settings, switch) and getattr(settings, name) != getattr(default, name):
                flag = name.replace("_", "-")
                raise ConfigError(
                    f"--{flag} does nothing {'without --vae' if switch == 'vae' else 'with --no-memory'}."
                )
    if settings.code_dropout is not None and settings.combine != "concatenate":
        raise ConfigError("--code-dropout needs --combine concatenate: else the decoder does not get the code.")
    if settings.decides == "memory" and not settings.memory:
        raise ConfigError("--decides memory cannot be with --no-memory.")


def _build(settings: Settings, spec: InputSpec) -> MemoryVAE:
    if not isinstance(spec, FrameSpec):
        raise DataError("memory_vae judges frames.")
    return MemoryVAE(settings, design_of(settings, spec))


def _score_rule(settings: Settings) -> ScoreRule:
    if settings.decides in ("error", "relative"):
        return _score_rule_of(settings, settings.decides)
    return ScoreRule(
        score=settings.decides, pool=settings.pool, share=settings.share
    )  # the maps' scores are pooled as well


def _score_rule_of(settings: Settings, name: str) -> ScoreRule:
    return ScoreRule(map=name, pool=settings.pool, share=settings.share)


TINY = Settings(
    size=24,
    widths=(8, 16),
    code=8,
    items=12,
    epochs=4,
    epoch_parts=200,
    batch_size=8,
    learning_rate=0.01,
    decides="error",
)

RECIPE = Recipe(
    name="memory_vae",
    summary="frames, by what cannot be rebuilt from remembered prototypes; generates new good parts",
    settings=Settings,
    tiny=structs.replace(TINY),
    variants={
        "vae": structs.replace(TINY, vae=True, latent=4, beta=1.0, decides="relative"),
        "plain": structs.replace(TINY, memory=False, items=None),
        "plain-vae": structs.replace(TINY, memory=False, items=None, vae=True),
        "positions": structs.replace(TINY, per="position", combine="replace", decides="combined"),
        "published": structs.replace(
            TINY, per="position", similarity="dot", initial="random", reseed=False, loss="bce"
        ),
    },
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    finalize=finalize,
    score_rule=_score_rule,
    notes=lambda settings: notes_on_beta(settings.beta),
    sample=sample,
    prototypes=prototypes,
)
