"""The definition of a detector: one `Recipe` record, the last line of its file."""

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

__all__ = ["FitContext", "Nearest", "Part", "Recipe", "Row", "State", "TrainingData", "detectors", "recipe"]

Row = dict[str, float]
"""One epoch of a history: ``epoch, train, validation, learning_rate, ...``, with names that the fit defines."""


class Part(Protocol):
    """One subset of the good data as prepared tensors, exactly as the graph passes them to the scorer."""

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def take(self, places: Sequence[int]) -> Tensor:
        """Return the items at these places, 0 to `len` - 1, as float32 ``[n, C, h, w]`` or ``[n, T, C]``.

        Unreadable items were counted and dropped when the part was opened.
        """
        ...

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """Yield each item once, in batches as `take` returns them, n <= size; in order, or shuffled.

        Memory is bounded for any number of items.
        """
        ...


class TrainingData(Protocol):
    """The only data that a fit sees: no labels, no test set, no calibration set."""

    @property
    def train(self) -> Part:
        """The part to train on."""
        ...

    @property
    def validation(self) -> Part:
        """The part for early stopping and for weighting scores; empty if the recipe does not use one."""
        ...


class State(NamedTuple):
    """Everything, apart from scorer, data and settings, that a fit needs to resume after an epoch without a difference."""

    tensors: Mapping[str, Tensor]
    """Best weights so far, moments of the optimiser, states of random generators."""
    scalars: Mapping[str, Any]
    """Values that JSON represents exactly: counters, learning rates."""


class FitContext(Protocol):
    """The environment of a fit: seed, device, progress, and the hook for fits that run in epochs.

    PyTorch's global generators are seeded before `Recipe.build`. A fit with its own generator seeds it with `seed`.
    """

    @property
    def seed(self) -> int:
        """Seed of all random draws."""
        ...

    @property
    def device(self) -> device:
        """Device of the scorer. Batches must be moved to it."""
        ...

    @property
    def progress(self) -> Progress:
        """Receiver of progress reports."""
        ...

    @property
    def resumed(self) -> State | None:
        """State that the last call of `epoch` saved, if an interrupted run is resumed. The scorer is then restored as well."""
        ...

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """Record the end of an epoch. `losses` become a row of the history; a resumed fit gets this scorer and this state."""
        ...

    def suspects(self, found: Sequence[tuple[int, float]], *, left_out: bool) -> None:
        """Record training items that look unlike the others, the oddest first; an empty sequence if there are none.

        Args:
            found: place of each item in `TrainingData.train`, and its score in units of the median score.
            left_out: whether the fit did not use them.
        """
        ...


class Nearest(NamedTuple):
    """The nearest patch of good parts for each cell of one item, in the features of one layer. Each tensor is ``[h, w]``."""

    distance: Tensor
    """Distance to that patch: what this layer adds to the map."""
    part: Tensor
    """Place of the good part among the items that were trained on, int32."""
    cell: Tensor
    """Cell of the patch in the same grid over that part, int32, row by row."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A detector. The complete state of its scorer is in the scorer's parameters and buffers."""

    name: str
    version: int = 1
    """Version of the scoring. It increases when the same state would score differently; older run folders are then refused."""
    summary: str
    """One line for ``andon train --help``."""
    settings: type[msgspec.Struct]
    tiny: msgspec.Struct
    """Settings that fit within a second, for the contract tests."""
    variants: Mapping[str, msgspec.Struct] = {}
    """Further quick settings by name, for other paths through the code. The contract tests run with each of them."""
    gives: Literal["frame", "window"]
    """Kind of items that the detector judges."""
    input: Callable[[Any, Found], InputSpec]
    """``input(settings, found)``: the input specification that suits the data found."""
    build: Callable[[Any, InputSpec], nn.Module]
    """``build(settings, spec)``: the untrained scorer. When stored weights are loaded, the buffers take the stored shapes."""
    fit: Callable[[Any, TrainingData, Any, FitContext], None]
    """``fit(scorer, good, settings, context)``: trains the scorer in place."""
    finalize: Callable[[Any, TrainingData, Any, device], None] | None = None
    """``finalize(scorer, good, settings, device)``: computes statistics that need the final weights, in place.

    Examples are the tails of the scores, and spreads. The function draws no random numbers. It must also work with the weights
    of any epoch. None: `fit` does all of it.
    """
    score_rule: Callable[[Any, InputSpec], ScoreRule]
    """``score_rule(settings, spec)``: the rule that turns evidence into the deciding score."""
    cell: Callable[[Any], int] = lambda _settings: 1
    """``cell(settings)``: side of one cell of the finest map, in pixels of the network's input."""
    uses_validation: bool = True
    """True if the detector needs a validation set. If not, it also trains on the items of that set."""
    scene_check: bool = False
    """True if exported files have a scene check by default. For detectors of frames that compare patches, not whole frames."""
    weights: Callable[[Any], Sequence[Weights]] = lambda _settings: ()
    """``weights(settings)``: pretrained weights that the scorer contains, with licence and digest."""
    notes: Callable[[Any], Sequence[str]] = lambda _settings: ()
    """``notes(settings)``: sentences about the settings that `andon inspect` shows."""
    sample: Callable[[nn.Module, Any, int, Generator], Tensor] | None = None
    """``sample(scorer, settings, count, generator)``: new good parts, in the form of the scorer's input.

    None: the detector does not generate parts.
    """
    prototypes: Callable[[nn.Module, Any], tuple[Tensor, Tensor]] | None = None
    """``prototypes(scorer, settings)``: decoded memory items in the form of `sample`'s parts, and their use ``[M]``.

    Use is the share of an item in the read-outs of good parts. None: the detector has no such memory.
    """

    nearest: Callable[[Any, Tensor], Sequence[Nearest]] | None = None
    """``nearest(scorer, prepared)``: the nearest good patches of one prepared frame ``[1, C, h, w]``, by layer.

    The finest grid is first. None: the detector does not compare with patches of good parts.
    """

    def fit_and_finalize(self, scorer: Any, good: TrainingData, settings: Any, context: FitContext) -> None:
        """Fit and finalize the scorer, so that it is ready to be exported."""
        self.fit(scorer, good, settings, context)
        if self.finalize is not None:
            self.finalize(scorer, good, settings, context.device)

    def wanted_input(self, settings: Any, found: Found) -> InputSpec:
        """Return the result of `input`; refuse data of the wrong kind with a clear message.

        Raises:
            DataError: frames for a detector of windows, or windows for a detector of frames.
        """
        kind = "frame" if isinstance(found, FoundFrames) else "window"
        if kind != self.gives:
            raise DataError(
                f"{self.name} judges {self.gives}s, but the data are {kind}s. Detectors for {kind}s: {_detectors_for(kind)}."
            )
        return self.input(settings, found)


def _detectors_for(kind: str) -> str:
    return ", ".join(name for name in detectors() if recipe(name).gives == kind) or "none"


def detectors() -> list[str]:
    """Return the names of all detectors without importing any."""
    return names("andon.detectors")


def recipe(name: str) -> Recipe:
    """Return the recipe of a detector.

    Raises:
        ConfigError: no detector has this name.
    """
    found = load("andon.detectors", name)
    if not isinstance(found, Recipe):
        raise ConfigError(f"{name}: expected a Recipe, got {type(found).__name__}.")
    return found
