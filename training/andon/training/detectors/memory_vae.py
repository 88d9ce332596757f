"""An autoencoder with a memory of prototypes, scored by what a mixture of them cannot reconstruct. It generates parts.

The network is an encoder, a memory of prototypes (items) and a decoder. A code is compared with all items (softmax
attention), small weights are shrunk to zero, and the decoder gets the mixture of the remaining items. By default the decoder
also gets the code itself. In training, a quarter of the code is dropped.

Suitable for small pictures whose good parts are variations of one theme: digits, centred parts. Not suitable for fine
texture, which it blurs, or if good parts are very diverse (CIFAR-10: docs/results.md). A verdict shows which items the
part was compared with (evidence ``memory_items``). `andon sample RUN --memory` draws the decoded items.

``--no-memory`` switches the memory off, ``--vae`` switches the variational code on, and sizes follow the pictures. The
eight nets of the reference project are therefore settings of this one. They are AE, VAE, memory AE and memory VAE, each
for 28 x 28 x 1 and 32 x 32 x 3.

The loss has three terms, all averaged over the batch:

* the squared error or cross-entropy, summed over pixels and channels;
* beta * KL, summed over latent variables;
* entropy weight * entropy of the addressing, a mean over positions.

The weights of KL and entropy rise from 0 during the warm-up. The published entropy weight of .0002, for a mean over
pixels, corresponds to .16 here at 28 x 28. Scores use no random draws.

A memory can collapse: all codes read the same few items. To prevent this, items are placed on the encoder's codes by
k-means++ before the first and the second epoch. Unused items are placed again during the first half of the training.
Codes and items are compared by direction, with a trained temperature. The history reports how much of the memory is in
use, and a collapse is logged as a warning. With ``--similarity dot``, as in the official code, only 5 to 12 % were in
use in spite of this placement.

The defaults were chosen with 600 pictures to train on. No digits except these were used:

* MNIST 2, 4 and 7 against held-out pictures of the same digit, rotated, mirrored or transposed;
* Fashion-MNIST classes 0 and 7 against the other classes, training set.

AUROC of the plain error on the digits 2 and 4:

* memory alone: .93 and .97 (initial temperature 10), .95 and .97 (40), one code per position .93 and .98;
* memory and code: .98 and .98 (half of the code dropped), .99 and .99 (a quarter dropped);
* no memory: .99 and .99.

Dividing by the picture's contrast improves digits (.988 to .992 on 2). It slightly reduces the AUROC on Fashion-MNIST
(.921 to .918, without a memory).

Sources: Gong et al., Memorizing Normality to Detect Anomaly (MemAE, ICCV 2019). See `nets.prototype_memory`. Kingma and
Welling, Auto-Encoding Variational Bayes (2014).
"""

import logging
from typing import Annotated, Literal

import torch
from msgspec import Meta, structs
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.export.masks import FillIgnored, logit_fill
from andon.export.pooling import Pool, Smooth
from andon.foundation.errors import ConfigError
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
from andon.training.recipe.wrong_data import expected_frames
from andon.training.sampling.memory import lone_items, neighbours

logger = logging.getLogger(__name__)

COLLAPSED = 0.05
"""Share of items in use below which the memory has collapsed. Fewer than two items in use are always a collapse."""
LEAST_CONTRAST = 0.01
"""Number added to the standard deviation of a picture's pixels (0 to 1), because it is a divisor and may be 0."""
KEPT_CODES = 512
"""Number of parts whose codes are kept, to generate new parts from them."""
NEAR_ONE = 0.5
"""Smallest weight of the KL term with which codes follow the prior well enough to draw new codes from the prior."""

_Width = Annotated[int, Meta(ge=1, le=1024)]


class Settings(Plan, frozen=True, kw_only=True):
    """Settings of `memory_vae`. Defaults of settings that are None depend on the pictures: grey or colour."""

    memory: Annotated[
        bool, Meta(description="read the code from a memory of prototypes; off: a plain autoencoder or VAE")
    ] = True
    vae: Annotated[
        bool, Meta(description="use a variational code: its latent variables are drawn at random in training")
    ] = False
    size: Annotated[Annotated[int, Meta(ge=16, le=256)] | None, SIZE] = None
    widths: Annotated[
        Annotated[tuple[_Width, ...], Meta(min_length=1, max_length=5)] | None,
        Meta(
            description=(
                "channels of the encoder's convolutions; each convolution halves the sides, and the decoder mirrors them. "
                "none: 16,32,64, in colour 32,64,64"
            )
        ),
    ] = None
    per: Annotated[
        Literal["image", "position"],
        Meta(description="one code per image, or one per position of the encoder's last map (4 x 4 for 28 x 28)"),
    ] = "image"
    code: Annotated[int, Meta(ge=1, le=4096, description="length of a code and of each prototype in the memory")] = 16
    latent: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(description="number of latent variables from which a code is computed, with --vae; none: 16"),
    ] = None
    beta: Annotated[
        Annotated[float, Meta(ge=0.0)] | None,
        Meta(description="weight of the KL term, with --vae; near 0: a plain autoencoder. none: 0.1"),
    ] = None
    items: Annotated[
        Annotated[int, Meta(ge=2, le=10_000)] | None,
        Meta(description="prototypes in the memory; none: 100, in colour 500"),
    ] = None
    similarity: Annotated[
        Literal["cosine", "dot"],
        Meta(
            description=(
                "similarity of codes and items: by direction with a trained temperature (cosine), or the plain "
                "product (dot)"
            )
        ),
    ] = "cosine"
    shrink: Annotated[
        float,
        Meta(ge=0.0, le=1000.0, description="threshold in units of 1 / items; smaller addressing weights become zero"),
    ] = 1.0
    entropy_weight: Annotated[
        float, Meta(ge=0.0, description="weight of the entropy of the addressing; larger: fewer items per code")
    ] = 0.1
    combine: Annotated[
        Literal["replace", "concatenate"],
        Meta(
            description=(
                "replace: the decoder gets the read-out instead of the code. concatenate: the decoder gets both; then "
                "anomalies can bypass the memory, so part of the code is dropped in training"
            )
        ),
    ] = "concatenate"
    code_dropout: Annotated[
        Annotated[float, Meta(ge=0.0, lt=1.0)] | None,
        Meta(description="share of the code that is dropped in training, with --combine concatenate; none: 0.25"),
    ] = None
    initial: Annotated[
        Literal["codes", "random"], Meta(description="initial items: codes far from each other, or random")
    ] = "codes"
    reseed: Annotated[
        bool, Meta(description="replace items that no code reads, during the first half of the epochs")
    ] = True
    loss: Annotated[
        Literal["mse", "bce"],
        Meta(
            description="reconstruction loss; with bce, --vae, --beta 1 and --entropy-weight 0 the loss is minus the ELBO"
        ),
    ] = "mse"
    decides: Annotated[
        Literal["error", "relative", "memory", "combined"],
        Meta(
            description=(
                "score that decides. error: squared reconstruction error. relative: blurred before it is squared, and"
                " divided by the picture's contrast. memory: distance of the code from its read-out. combined: the "
                "rarest of all scores, by the share of validation parts that score as high"
            )
        ),
    ] = "relative"
    blur: Annotated[
        float,
        Meta(
            gt=0.0,
            le=16.0,
            description=(
                "standard deviation of the Gaussian of ``relative``; with it, lines slightly out of place count less,"
                " but missing lines count in full"
            ),
            extra={"unit": "px"},
        ),
    ] = 1.0
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map of errors becomes a score")] = "mean"
    share: Annotated[
        float,
        Meta(
            gt=0.0,
            le=1.0,
            description="with --pool top: score = mean of the highest values; this is their share of all values",
        ),
    ] = 0.05
    epochs: Annotated[int, Meta(ge=1, description="largest number of epochs", extra={"unit": "epochs"})] = 40
    epoch_parts: Annotated[
        int,
        Meta(ge=0, description="frames that count as one epoch; 0: the whole training set", extra={"unit": "frames"}),
    ] = 2000
    batch_size: Annotated[int, Meta(ge=2, description="frames per step", extra={"unit": "frames"})] = 64
    learning_rate: Annotated[float, Meta(gt=0.0, description="initial learning rate of Adam")] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="weight decay of Adam")] = 0.0
    clip_norm: ClipNorm = 100.0
    warm_up: Annotated[
        float,
        Meta(ge=0.0, le=1.0, description="share of all steps over which the weights of KL and entropy rise from 0"),
    ] = 0.2

    @property
    def by_cosine(self) -> bool:
        """True for a cosine schedule, which is the default."""
        return self.schedule != "plateau"

    @property
    def posterior(self) -> tuple[int, float]:
        """Number of latent variables and weight of the KL term, with `vae`."""
        return self.latent or 16, 0.1 if self.beta is None else self.beta


def design_of(settings: Settings, spec: FrameSpec) -> Design:
    """Return the sizes from the settings, or defaults for grey or colour pictures."""
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
    """The network with its scores."""

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        design = design_of(settings, spec)
        super().__init__(design)
        self.settings = settings
        self.fill = FillIgnored(spec, logit_fill(spec))
        self.blur = Smooth(settings.blur)
        self.pools = nn.ModuleDict({name: Pool(_score_rule_of(settings, name), spec) for name in ("error", "relative")})
        self.combination = Combination(self._score_names())
        # from training parts: codes from which new parts are generated, and each item's share of what is read
        self.register_buffer("codes", torch.zeros(1, self.positions, settings.code))
        self.register_buffer("usage", torch.zeros(design.items))

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the maps ``error`` and ``relative`` (squared differences, means over channels), the scores and two tables."""
        maps, scores, rebuilt = self._judge(prepared)
        tables = {"latent": (rebuilt.codes if self.mean is None else rebuilt.mean).mean(dim=1)}
        if self.memory is not None:
            tables["memory_items"] = rebuilt.weights.mean(dim=1)
        further = {name: score for name, score in scores.items() if name not in maps}  # pooled maps give the others
        combined = {"combined": self.combination(scores)}
        return Evidence(maps, further | combined, {"reconstruction": rebuilt.logits.sigmoid()}, tables)

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """Return scores ``[N]`` by name: ``error`` and ``relative`` (pooled), ``memory`` and ``divergence``.

        ``memory`` needs a memory, and ``divergence`` needs `vae`.
        """
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
    """Return error + beta * KL + entropy, as described in the module's docstring."""
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
    """Minimise the loss, and replace unused items of the memory."""
    feed = MemoryFeed(
        scorer,
        good,
        seed=context.seed,
        begin_as_codes=settings.initial == "codes",
        reseed_until=settings.epochs // 2 if settings.reseed else 0,
    )
    descend(scorer, good, loss, settings, context, feed=feed)


def finalize(scorer: MemoryVAE, good: TrainingData, settings: Settings, device: torch.device) -> None:  # noqa: ARG001 - a Recipe's
    """Store codes, the use of items and the tails of the scores."""
    with torch.no_grad():
        codes = encoded(scorer, good.train, KEPT_CODES)[0]
        scorer.codes = codes
        if scorer.memory is not None:
            scorer.usage = usage(scorer.address(encoded(scorer, good.train, SEEN)[0]))
            read = int(in_use(scorer.usage).sum())
            if read < max(2, COLLAPSED * len(scorer.usage)):
                logger.warning(
                    "the memory has collapsed: %d of %d items are in use. Try --similarity cosine, --reseed, a lower "
                    "--entropy-weight or fewer --items",
                    read,
                    len(scorer.usage),
                )
    scorer.combination.fit(scores_over(scorer.scores, good.validation, device))


def sample(scorer: nn.Module, settings: Settings, count: int, generator: Generator) -> Tensor:
    """Return new parts: from the prior if a variational code follows it, else from mixtures of two training parts.

    A training part and one of the parts most similar to it are drawn. Their codes are mixed with a random share, and so are
    their memory weights. The decoder turns the mixture into a new part. So prototypes are combined as in good parts.

    Raises:
        ConfigError: these settings cannot generate parts.
    """
    assert isinstance(scorer, MemoryVAE)
    kept = scorer.get_buffer("codes")
    prior = settings.vae and settings.per == "image" and settings.posterior[1] >= NEAR_ONE
    if prior:
        latent = torch.randn((count, 1, settings.posterior[0]), generator=generator).to(kept.device)
        codes = scorer.to_code(latent)
        return scorer.decode(codes, scorer.address(codes)).sigmoid()
    if not settings.memory:
        raise ConfigError(f"this memory_vae cannot generate parts: {_why_no_parts(settings)}.")
    first, second, share = neighbours(kept, count, generator)
    codes = torch.lerp(first, second, share)
    weights = torch.lerp(scorer.address(first), scorer.address(second), share)
    return scorer.decode(codes, weights).sigmoid()


def _why_no_parts(settings: Settings) -> str:
    if not settings.vae:
        return "without a memory (--no-memory) and without --vae, the codes of good parts are not known"
    if settings.per == "position":
        return (
            "with --per position the codes of one picture depend on each other, but the prior draws each independently"
        )
    return (
        f"with --beta {settings.posterior[1]:g} it is nearly a plain autoencoder. Its codes do not follow the prior. Train "
        f"with --beta of at least {NEAR_ONE:g}, or with a memory"
    )


def prototypes(scorer: nn.Module, _settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the decoded items ``[M, C, h, w]``, and the share of each item in the read-outs of training parts, ``[M]``.

    With one code per position, an item is shown at the position where it is used most. The other positions get the average
    read-out of good parts.

    Raises:
        ConfigError: the run was trained without a memory.
    """
    assert isinstance(scorer, MemoryVAE)
    if scorer.memory is None:
        raise ConfigError(
            "this memory_vae was trained without a memory (--no-memory). There are no prototypes to show. Train with --memory."
        )
    weights = lone_items(scorer.address(scorer.get_buffer("codes")))
    codes = scorer.memory.read(weights)  # used instead of the encoder's codes if the decoder gets both
    return scorer.decode(codes, weights).sigmoid(), scorer.get_buffer("usage")


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise expected_frames("memory_vae")
    _refuse_unused_settings(settings)
    check_share(settings)
    height, width = size_seen(found, settings.size)
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(max(height, 16), max(width, 16)))


def _refuse_unused_settings(settings: Settings) -> None:
    """Refuse settings that would have no effect."""
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
                    f"--{flag} has no effect {'without --vae' if switch == 'vae' else 'with --no-memory'}. Remove it."
                )
    if settings.code_dropout is not None and settings.combine != "concatenate":
        raise ConfigError("--code-dropout needs --combine concatenate. Otherwise the decoder does not get the code.")
    if settings.decides == "memory" and not settings.memory:
        raise ConfigError("--decides memory needs a memory. Remove --no-memory.")


def _build(settings: Settings, spec: InputSpec) -> MemoryVAE:
    if not isinstance(spec, FrameSpec):
        raise expected_frames("memory_vae")
    return MemoryVAE(settings, spec)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    if settings.decides in ("error", "relative"):
        return _score_rule_of(settings, settings.decides)
    return ScoreRule(
        score=settings.decides, pool=settings.pool, share=settings.share
    )  # the pooling of the maps' scores


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
    summary="frames: error of a reconstruction from a memory of prototypes; generates new good parts",
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
