"""The run folder: what training leaves behind, and what an interrupted training goes on from. No pickle.

======================  ================================================================================================
``run.json``            `RunRecord`: recipe, settings, input, split by key, fingerprint, seed, threads, versions, history
``model.safetensors``   the scorer's parameters and buffers, once training has finished
``state.safetensors``   while it has not: a fit's `State` after its last epoch; scalars and history stand in the header, so
                        that one rename replaces all of it and no kill can leave halves that do not fit
``checkpoints/``        the scorer after chosen epochs, each ready to be exported (`checkpoints`)
``pictures/``           curves, and what was rebuilt at chosen epochs
``reel/``               what animations are made from, by epoch (`animation.reel`)
======================  ================================================================================================
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct
from torch import Tensor, nn

from andon.calibration.split import CALIBRATION_SHARE, Split
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import AndonError, TrainingError
from andon.foundation.progress import Progress
from andon.runtime.schema import FrameSpec, InputSpec, Weights
from andon.training.fitting.device import undisturbed
from andon.training.recipe.recipe import Recipe, State, recipe

logger = logging.getLogger(__name__)

RUN, MODEL, STATE, PICTURES = "run.json", "model.safetensors", "state.safetensors", "pictures"
CHECKPOINTS = "checkpoints"
_HEADER = "andon"
_SCORER, _FIT = "scorer.", "fit."

Row = dict[str, float]
"""One epoch of the history: ``epoch, train, validation, learning_rate, ...`` as the fit names them."""


Observer = Callable[[nn.Module, int], Row | None]
"""``observer(scorer, epoch)`` looks on after an epoch and leaves everything as it was; what it says is kept as `watched`."""


class Watched(Struct, frozen=True, kw_only=True):
    """Labelled parts that were only looked at: no fit, no schedule and no choice of weights knows of them."""

    path: str
    """As given."""
    parts: dict[str, int]
    """How many of each kind, ``good`` first."""
    every: int | None = None
    """Epochs between two looks; None: as often as was cheap."""
    rows: tuple[Row, ...] = ()
    """``epoch, auroc, seconds``: AUROC over these parts after some of the epochs."""
    kept: float | None = None
    """AUROC of the weights that stayed."""


class RunRecord(Struct, frozen=True, kw_only=True):
    """What ``run.json`` holds."""

    recipe: str
    recipe_version: int
    andon: str
    """The version that wrote it."""
    settings: dict[str, Any]
    input: InputSpec
    split: Split
    fingerprint: str
    """Digest over keys and raw contents of the parts that were learnt from."""
    lost: tuple[str, ...] = ()
    """Keys of parts that could not be learnt from."""
    copies: tuple[str, ...] = ()
    """Keys of parts that repeat another one, and are in no part of the split."""
    contents: dict[str, str] = {}
    """Digest of each calibration part by key; empty for one that was lost. Export compares them."""
    weights_sha256: str = ""
    """Digest of ``model.safetensors``, once training has finished."""
    pretrained: tuple[Weights, ...] | None = None
    """Pretrained weights within, as they were when training ended; None in a record of an older andon."""
    data: str = ""
    """The path as given; empty where the data came from memory."""
    group: str | None = None
    calibration_share: float = CALIBRATION_SHARE
    """Of the parts, held back for calibration."""
    seed: int
    threads: int
    device: str
    versions: dict[str, str] = {}
    history: tuple[Row, ...] = ()
    watched: Watched | None = None
    picture_epochs: tuple[int, ...] | None = None
    """Epochs after which pictures were asked for; None: the usual ones."""
    animation_epochs: int | tuple[int, ...] | None = None
    """Epochs that are kept for animations: each so many, just these, or, None, the usual ones."""
    checkpoint_epochs: int | tuple[int, ...] | None = None
    """Epochs whose weights are kept: each so many, just these, or, None, none."""
    finished: bool = False

    def readable(self, keys: Sequence[str]) -> int:
        """Count the parts among these keys of the split that could be read, and so were trained or validated on."""
        return len(set(keys) - set(self.lost))


class LoadedRun(Struct, frozen=True, kw_only=True):
    """A finished training, or what one had learnt after an epoch."""

    path: Path
    record: RunRecord
    recipe: Recipe
    settings: Any
    """Of the recipe's own type."""
    scorer: nn.Module
    """In eval mode, on the CPU."""
    epoch: int | None = None
    """Whose weights these are, if not those that stayed."""

    @property
    def spec(self) -> InputSpec:
        """What the scorer takes."""
        return self.record.input

    @property
    def split(self) -> Split:
        """Good parts by use."""
        return self.record.split


def load(path: Path | str, *, of: Recipe | None = None, epoch: int | None = None) -> LoadedRun:
    """A finished run, ready to be exported; or a checkpoint, of a run that need not have finished.

    Args:
        path: the run folder.
        of: the recipe; None: the registered one of the name in the folder.
        epoch: whose weights; None: those that stayed.

    Raises:
        TrainingError: no run there, not finished, damaged, of another version of its recipe, or no checkpoint of that epoch.
    """
    folder = Path(path)
    record = read_record(folder)
    if epoch is not None and not checkpoint(folder, epoch).exists():
        kept = ", ".join(str(number) for number in kept_epochs(folder)) or "none; train with --checkpoint-epochs"
        raise TrainingError(f"{folder}: no checkpoint of epoch {epoch}. Kept: {kept}.")
    if epoch is None and not record.finished:
        raise TrainingError(
            f"{folder}: training has not finished; go on with: andon train {record.recipe} --data {record.data or 'DATA'} "
            f"--out {folder} --resume"
        )
    known = of or recipe(record.recipe)
    check_recipe(record, known, folder)
    settings = read_settings(record, known)
    scorer = known.build(settings, record.input)
    weights = folder / MODEL if epoch is None else checkpoint(folder, epoch)
    tensors, header = _read_tensors(weights)
    _check_weights(weights, record, header.get(_HEADER, ""), kept=epoch is None)
    load_state(scorer, tensors, where=str(weights))
    _check_judges(scorer.eval(), record.input, where=str(weights))
    return LoadedRun(path=folder, record=record, recipe=known, settings=settings, scorer=scorer, epoch=epoch)


def checkpoint(folder: Path, epoch: int) -> Path:
    """Where a run keeps the weights of an epoch."""
    return folder / CHECKPOINTS / f"epoch_{epoch:04}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """The epochs that a run has checkpoints of."""
    names = (path.stem.removeprefix("epoch_") for path in (folder / CHECKPOINTS).glob("epoch_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def read_record(folder: Path) -> RunRecord:
    """``run.json`` of a run, finished or not.

    Raises:
        TrainingError: there is none, or it is damaged.
    """
    path = folder / RUN
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except OSError as error:
        raise TrainingError(
            f"{folder}: expected a run folder as andon train writes it, found no {RUN} ({error.strerror})."
        ) from error
    except msgspec.DecodeError as error:
        raise TrainingError(f"{path}: expected the record of a run: {error}") from error


def write_record(folder: Path, record: RunRecord) -> None:
    """``run.json``, whole or not at all."""
    write_atomically(folder / RUN, msgspec.json.format(msgspec.json.encode(record), indent=1))


def begin(folder: Path, record: RunRecord) -> None:
    """Write the record of a new run, after removing what a run whose record is gone has left: none of it is this one's."""
    left = [folder / STATE, folder / MODEL, *(checkpoint(folder, epoch) for epoch in kept_epochs(folder))]
    left += (folder / PICTURES).glob("epoch_*.png")
    found = [path for path in left if path.exists()]
    for path in found:
        path.unlink()
    if found:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        logger.warning("%s: removed what another training left: %s", folder, names)
    write_record(folder, record)


def identity(record: RunRecord) -> dict[str, str]:
    """What must be the same in a training and in a state that it goes on from, by name for people."""
    settings = json.dumps(record.settings, sort_keys=True)
    return {
        "data": record.fingerprint,
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "seed": str(record.seed),
    }


def seal(record: RunRecord) -> str:
    """Return a digest over what a run's weights were trained with: recipe, settings, input, parts and seed.

    Each file of weights holds it, so that weights of another run, or a record with other parts, are noticed.
    """
    names = ("recipe", "recipe_version", "settings", "input", "split", "fingerprint", "contents", "seed")
    trained_with = {name: msgspec.to_builtins(getattr(record, name)) for name in names}
    return hashlib.sha256(json.dumps(trained_with, sort_keys=True).encode()).hexdigest()


def _check_weights(path: Path, record: RunRecord, sealed: str, *, kept: bool) -> None:
    """Refuse weights that are not those that the record is about. Records of an older andon say nothing of them."""
    if kept and record.weights_sha256:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != record.weights_sha256:
            raise TrainingError(
                f"{path}: expected the weights with sha256 {record.weights_sha256[:12]} that {RUN} names, got "
                f"{digest[:12]}. Put back the file of this run, or train again."
            )
    if sealed != seal(record) and (sealed or record.contents):
        raise TrainingError(
            f"{path}: expected weights that were trained with the parts, settings and seed in {RUN}, got weights of another "
            f"run, or {RUN} was changed. Put back both files of one run, or train again."
        )


def check_recipe(record: RunRecord, known: Recipe, folder: Path) -> None:
    """Whether this andon's recipe would score as the one that wrote the folder.

    Raises:
        TrainingError: it would not; the andon that wrote it is named.
    """
    if (record.recipe, record.recipe_version) != (known.name, known.version):
        # the same andon would not export it either: a plugin's recipe, or a checkout between two releases
        by_its_own = "" if record.andon == version("andon") else f", or export it with andon {record.andon}"
        raise TrainingError(
            f"{folder}: written by {record.recipe} version {record.recipe_version} of andon {record.andon}, while this "
            f"andon has {known.name} version {known.version}. Train it again{by_its_own}."
        )


def read_settings(record: RunRecord, known: Recipe) -> Any:
    """The settings of a run as the recipe's own struct.

    Raises:
        TrainingError: they do not fit.
    """
    try:
        return msgspec.convert(record.settings, known.settings)
    except msgspec.ValidationError as error:
        raise TrainingError(f"settings of the run do not fit {known.name}: {error}") from error


def write_weights(path: Path, scorer: nn.Module, *, sealed: str = "") -> str:
    """Write the scorer's parameters and buffers, whole or not at all, and return the file's sha256.

    Args:
        path: the file.
        scorer: in any mode, on any device.
        sealed: the run's `seal`, kept in the file.
    """
    data = _packed(scorer.state_dict(), {_HEADER: sealed} if sealed else {})
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def load_state(scorer: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Stored parameters and buffers into a freshly built scorer; buffers take their stored shapes.

    Raises:
        TrainingError: names, types or shapes that do not fit.
    """
    for name, own in scorer.state_dict().items():
        if name in tensors and (tensors[name].dtype, tensors[name].dim()) != (own.dtype, own.dim()):
            raise TrainingError(
                f"{where}: does not fit this detector: expected {name} as {own.dtype} with {own.dim()} axes, got "
                f"{tensors[name].dtype} with {tensors[name].dim()}."
            )
    for name, buffer in list(scorer.named_buffers()):
        if name in tensors and tensors[name].shape != buffer.shape:
            owner, _, last = name.rpartition(".")
            # a core-set's size is known only after the fit
            setattr(scorer.get_submodule(owner), last, torch.empty_like(tensors[name], device=buffer.device))
    try:
        scorer.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise TrainingError(f"{where}: does not fit this detector: {' '.join(str(error).split())}") from error


def _check_judges(scorer: nn.Module, spec: InputSpec, *, where: str) -> None:
    """Judge one item of zeros: buffers take their stored shapes, and only a run of the scorer shows whether these fit."""
    shape = (1, spec.channels, *spec.size) if isinstance(spec, FrameSpec) else (1, spec.steps, len(spec.channels))
    try:
        with undisturbed(scorer):
            scorer(torch.zeros(shape))
    except (RuntimeError, IndexError) as error:
        raise TrainingError(f"{where}: does not fit this detector: {' '.join(str(error).split())}") from error


def kept_history(folder: Path) -> tuple[Row, ...]:
    """The whole epochs that an interrupted training would go on from; none where it would begin anew.

    Raises:
        TrainingError: what was kept is damaged.
    """
    path = folder / STATE
    if not (path.exists() and (folder / RUN).exists()):  # `begin` removes a state without a record
        return ()
    return tuple(json.loads(_read_tensors(path)[1][_HEADER])["history"])


class FolderRun:
    """The `Run` of a fit that leaves its traces in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        device: torch.device,
        progress: Progress,
        observers: Sequence[Observer] = (),
        of: Mapping[str, str] | None = None,
    ) -> None:
        """`of`: the `identity` of the training, kept with its state; None: not known, nothing is compared."""
        self.seed = seed
        self.device = device
        self.progress = progress
        self.resumed: State | None = None
        """What the fit kept, once `resume` has found something."""
        self.history: list[Row] = []
        self.watched: list[Row] = []
        """What the observers said: never looked at by a fit."""
        self.folder = folder
        self._observers = observers
        self._silent: set[Observer] = set()
        self._of = dict(of or {})
        self._path = folder / STATE

    def resume(self, scorer: nn.Module) -> bool:
        """Take up what the last whole epoch left, the scorer's weights with it; False where there is nothing.

        Raises:
            TrainingError: it is damaged, of another detector, or of a training on other data, settings or seed.
        """
        if not self._path.exists():
            return False
        tensors, header = _read_tensors(self._path)
        stored = json.loads(header[_HEADER])
        came = stored.get("of", {})
        others = [name for name in self._of.keys() & came.keys() if self._of[name] != came[name]]
        if others:
            raise TrainingError(
                f"{self._path}: of a training with another {' and '.join(sorted(others))} than {RUN} says. Delete it to "
                "begin this run anew."
            )
        self.history, self.watched = stored["history"], stored.get("watched", [])
        load_state(scorer, _under(_SCORER, tensors), where=str(self._path))
        self.resumed = State(tensors=_under(_FIT, tensors), scalars=stored["scalars"])
        return True

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """Add a row to the history, let the observers look; keep scorer and state, where the fit can be resumed.

        An observer that fails with an `AndonError` (a full disk, mostly) costs what it would have kept, never the epoch.
        """
        self.history.append(dict(losses))
        for observer in self._observers:
            try:
                row = observer(scorer, len(self.history))
            except AndonError as error:
                if observer not in self._silent:
                    logger.warning("epoch %d: %s Training goes on without it.", len(self.history), error)
                    self._silent.add(observer)
            else:
                self.watched += [row] if row is not None else []
        if state is not None:
            kept_rows = {"history": self.history, "watched": self.watched, "of": self._of}
            header = json.dumps(kept_rows | {"scalars": state.scalars}, allow_nan=False)
            weights = {_SCORER + name: tensor for name, tensor in scorer.state_dict().items()}
            kept = {_FIT + name: tensor for name, tensor in state.tensors.items()}
            write_atomically(self._path, _packed(weights | kept, {_HEADER: header}))

    def finish(self) -> None:
        """Nothing is to be resumed any more."""
        self._path.unlink(missing_ok=True)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _packed(tensors: Mapping[str, Tensor], header: dict[str, str]) -> bytes:
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(_unshared(plain), metadata=header or None)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory; weights that are tied are stored twice."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    with contextlib.ExitStack() as stack:
        try:
            stored = stack.enter_context(safe_open(path, framework="pt"))
            # copied: as given they are views of the mapped file, which Windows would then not let anyone replace
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118 - not a mapping
            return tensors, stored.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise TrainingError(f"{path}: expected a safetensors file of a run: {error}") from error
