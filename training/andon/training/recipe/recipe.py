"""What a detector is: one record, the last line of its file."""

from andon.training.fitting import thread_waiting  # noqa: F401 - before torch is imported

# isort: split

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
from torch import Generator, Tensor, device, nn

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import Progress
from andon.foundation.registry import load, names
from andon.runtime.schema import InputSpec, ScoreRule, Weights
from andon.sources.collection import Found, FoundFrames

__all__ = ["FitContext", "Part", "Recipe", "Row", "State", "TrainingData", "detectors", "recipe"]

Row = dict[str, float]
"""One epoch of a history: ``epoch, train, validation, learning_rate, ...`` as the fit names them."""


class Part(Protocol):
    """One part of the good data, as prepared tensors: exactly those that the graph will give the scorer."""

    def __len__(self) -> int:
        """Items."""
        ...

    def take(self, places: Sequence[int]) -> Tensor:
        """Float32 ``[n, C, h, w]`` or ``[n, T, C]``: the items at these places, 0 to `len` - 1.

        Unreadable items were counted and dropped when the part was opened.
        """
        ...

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """What `take` gives, n <= size at a time, each item once; in order, or shuffled.

        Memory is bounded, however many items there are.
        """
        ...


class TrainingData(Protocol):
    """All that a fit can see: no labels, no test part, no calibration part."""

    @property
    def train(self) -> Part:
        """To learn from."""
        ...

    @property
    def validation(self) -> Part:
        """To stop early by, to weigh scores by; empty for recipes that asked for none."""
        ...


class State(NamedTuple):
    """All that a fit needs, beside scorer, data and settings, to go on after an epoch as if it had never stopped."""

    tensors: Mapping[str, Tensor]
    """Best weights so far, moments of the optimiser, states of random generators."""
    scalars: Mapping[str, Any]
    """What JSON can hold exactly: counters, learning rates."""


class FitContext(Protocol):
    """Where a fit runs: seed, device, progress, and the one hook for those that learn by epochs.

    PyTorch's global generators are seeded before `Recipe.build`; a fit that draws from its own seeds it with `seed`.
    """

    @property
    def seed(self) -> int:
        """Of everything that draws."""
        ...

    @property
    def device(self) -> device:
        """Where the scorer already is, and where batches must be moved to."""
        ...

    @property
    def progress(self) -> Progress:
        """To tell a person how far it is."""
        ...

    @property
    def resumed(self) -> State | None:
        """What `epoch` was last given, where an interrupted run is to go on; the scorer is then as it was."""
        ...

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """An epoch ended: `losses` become a row of the history; a resumed fit will find this scorer and this state."""
        ...


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A detector. Its scorer's parameters and buffers are its whole state."""

    name: str
    version: int = 1
    """Raised when the same state would score differently: an older run folder is then refused."""
    summary: str
    """One line for ``andon train --help``."""
    settings: type[msgspec.Struct]
    tiny: msgspec.Struct
    """Settings that fit within a second, for the contract tests."""
    variants: Mapping[str, msgspec.Struct] = {}
    """Further settings as quick as `tiny`, by name, that take other ways through the code: the contract runs over each."""
    gives: Literal["frame", "window"]
    """What it judges."""
    input: Callable[[Any, Found], InputSpec]
    """``input(settings, found)``: the input it wants, from what the data are."""
    build: Callable[[Any, InputSpec], nn.Module]
    """``build(settings, spec)``: the untrained scorer; buffers take stored shapes on load."""
    fit: Callable[[Any, TrainingData, Any, FitContext], None]
    """``fit(scorer, good, settings, context)``: changes the scorer in place."""
    finalize: Callable[[Any, TrainingData, Any, device], None] | None = None
    """``finalize(scorer, good, settings, device)``: what the scorer takes from good parts once its weights are final: the
    tails of its scores, spreads; in place, nothing is drawn. It completes weights of any epoch. None: `fit` does all of it."""
    score_rule: Callable[[Any], ScoreRule]
    """``score_rule(settings)``: how its evidence becomes the deciding score."""
    uses_validation: bool = True
    """Detectors that need none train on the validation part too."""
    weights: Callable[[Any], Sequence[Weights]] = lambda _settings: ()
    """``weights(settings)``: pretrained weights within, with licence and digest."""
    notes: Callable[[Any], Sequence[str]] = lambda _settings: ()
    """``notes(settings)``: sentences about the settings that `andon inspect` shows."""
    sample: Callable[[nn.Module, Any, int, Generator], Tensor] | None = None
    """``sample(scorer, settings, count, generator)``: new good parts, prepared as the scorer's input; None: it generates none."""
    prototypes: Callable[[nn.Module, Any], tuple[Tensor, Tensor]] | None = None
    """``prototypes(scorer, settings)``: what each item of a memory decodes to, as `sample`'s parts, and each one's share of
    what good parts read ``[M]``; None: no such memory."""

    def fit_and_finalize(self, scorer: Any, good: TrainingData, settings: Any, context: FitContext) -> None:
        """Fit, then finalize: the scorer is ready to be exported."""
        self.fit(scorer, good, settings, context)
        if self.finalize is not None:
            self.finalize(scorer, good, settings, context.device)

    def wanted_input(self, settings: Any, found: Found) -> InputSpec:
        """`input`, with a clear refusal of data of the wrong kind.

        Raises:
            DataError: frames for a detector of windows, or the other way round.
        """
        kind = "frame" if isinstance(found, FoundFrames) else "window"
        if kind != self.gives:
            raise DataError(
                f"{self.name} judges {self.gives}s, while the data are {kind}s. Detectors for {kind}s: {_those_for(kind)}."
            )
        return self.input(settings, found)


def _those_for(kind: str) -> str:
    return ", ".join(name for name in detectors() if recipe(name).gives == kind) or "none"


def detectors() -> list[str]:
    """All detectors there are, without importing any."""
    return names("andon.detectors")


def recipe(name: str) -> Recipe:
    """The recipe of a detector.

    Raises:
        ConfigError: nobody of that name.
    """
    found = load("andon.detectors", name)
    if not isinstance(found, Recipe):
        raise ConfigError(f"{name}: expected a Recipe, got {type(found).__name__}.")
    return found
