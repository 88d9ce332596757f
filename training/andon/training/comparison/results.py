"""What the folder of a cell holds, and what a table can read from it.

===================  ===================================================================================================
``cell.json``        `Key`: which cell this is; there before anything of it has begun
``run/``             the run folder, from which an interrupted training goes on
``cost.json``        `Cost` of the training, once that has finished
``model.onnx``       the exported file
``evaluation.json``  the whole evaluation
``result.json``      `Result`, written last: the cell is done
``error.json``       `Failure` of the last attempt, where that failed; the next run tries again
``lock``             while a process works on it (`folder_lock`)
===================  ===================================================================================================
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from andon.calibration.request import PromiseRequest
from andon.evaluation.figures.part_figures import Evaluation
from andon.evaluation.logs import LogEvaluation
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError, DataError
from andon.training.comparison.plan import Key
from andon.training.runs.folder_lock import is_locked

CELL, RUN_FOLDER, COST, MODEL = "cell.json", "run", "cost.json", "model.onnx"
EVALUATION, RESULT, ERROR = "evaluation.json", "result.json", "error.json"

S = TypeVar("S", bound=Struct)


class Cost(Struct, frozen=True, kw_only=True):
    """What a training took, reading of the data included."""

    wall_s: float | None
    """Over all sessions where it was interrupted, as far as its epochs tell; None where nobody knows."""
    cpu_s: float | None
    """Process time, threads added; None where it was interrupted."""


class Result(Struct, frozen=True, kw_only=True):
    """Everything that is known of a finished cell; ``result.json``."""

    cell: Key
    kind: Literal["frame", "window"]
    figures: dict[str, float]
    """Numbers of the evaluation by the names that it gives them, and those asked for beyond; what is not finite is left out."""
    promise: str
    n_train: int
    n_validation: int
    n_calibration: int
    training: Cost
    export_s: float
    evaluate_s: float
    latency_ms: float | None
    """Median of one judgement, one thread, of items of `item_shape`; None where it was not measured."""
    gemm_ms: float | None
    """A 1024-cube matrix product in the same breath: what this machine, at that moment, could do."""
    item_shape: tuple[int, ...] | None
    file_mb: float
    model: str
    """Short digest of the file."""
    fingerprint: str
    """Of the good parts that were learnt from."""
    threads: int
    device: str
    andon: str
    versions: dict[str, str]
    date: str


class Failure(Struct, frozen=True, kw_only=True):
    """Why the last attempt failed; ``error.json``."""

    message: str
    kind: str
    traceback: str = ""
    """Where it was a bug and not a mistake."""
    date: str


class Standing(Struct, frozen=True, kw_only=True):
    """How far a cell is."""

    key: Key
    folder: str
    result: Result | None = None
    failure: Failure | None = None
    busy: bool = False
    """A process works on it."""


def standings(out: Path) -> list[Standing]:
    """All cells below a comparison's folder, done or not, by the names of their folders.

    Raises:
        DataError: a file that a comparison wrote and that is not what it was.
    """
    found = []
    for path in sorted(out.glob(f"*/*/*/{CELL}")):
        folder = path.parent
        result = read(folder / RESULT, Result)
        found.append(
            Standing(
                key=_there(read(path, Key), path),
                folder=folder.relative_to(out).as_posix(),
                result=result,
                failure=None if result else read(folder / ERROR, Failure),
                busy=result is None and is_locked(folder),
            )
        )
    return found


def take_place(folder: Path, key: Key, settings: type[Struct] | None = None) -> None:
    """See that a cell's folder is its own, and write ``cell.json`` where it is new.

    Args:
        folder: of the cell.
        key: what it must hold.
        settings: of the detector, for `filled`.

    Raises:
        ConfigError: it holds another cell's result, or its training.
    """
    done = read(folder / RESULT, Result)
    held = done.cell if done else read(folder / CELL, Key)
    held = filled(held, settings) if held and settings else held
    if held == key and (folder / CELL).exists():
        return
    if held is not None:
        learnt, wanted = _training(held), _training(key)
        if learnt != wanted:
            raise ConfigError(
                f"{folder}: holds another cell ({_differences(learnt, wanted)}). Give another --out, or delete that folder."
            )
        if done is not None and held != key:
            raise ConfigError(
                f"{folder}: holds a result of the same training for another wish "
                f"({_differences(_fields(done.cell), _fields(key))}). Give another --out, or delete its {RESULT}: it is then "
                "exported and evaluated anew, and nothing is trained again."
            )
    write(folder / CELL, key)


def filled(held: Key, settings: type[Struct]) -> Key:
    """A key of before, with settings that a detector has got since at their defaults, which do what was done without them."""
    if not set(held.settings) <= {field.name for field in msgspec.structs.fields(settings)}:
        return held
    try:
        now = msgspec.convert(held.settings, settings)
    except msgspec.ValidationError:
        return held
    return msgspec.structs.replace(held, settings=msgspec.json.decode(msgspec.json.encode(now)))


def read(path: Path, kind: type[S]) -> S | None:
    """A record of a cell's folder; None where there is none.

    Raises:
        DataError: it is not what was written.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected what 'andon compare' writes: {error}. Delete that file.") from error


def write(path: Path, record: Struct) -> None:
    """A record of a cell's folder, whole or not at all."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def frame_figures(evaluation: Evaluation) -> dict[str, float]:
    """Numbers of an evaluation of frames, whichever it has."""
    return _numbers(evaluation)


def log_figures(evaluation: LogEvaluation) -> dict[str, float]:
    """Numbers of an evaluation of logs: those over all files, those by file averaged, and rates from its counts."""
    counts = evaluation.total.counts
    rates = {
        "false_reject_rate": _ratio(counts.false_rejects, counts.good),
        "miss_rate": _ratio(counts.misses, counts.defective),
        "faults_caught": _ratio(counts.caught, counts.faults),
        "caught_by_chance": _ratio(counts.dummy_caught, counts.faults),
        "good_windows": float(counts.good),
        "defective_windows": float(counts.defective),
        "faults": float(counts.faults),
        "files": float(len(evaluation.runs)),
    }
    return {
        **_numbers(evaluation.total),
        **_numbers(evaluation),
        **{name: value for name, value in rates.items() if value is not None},
    }


def _numbers(record: Struct) -> dict[str, float]:
    plain: Mapping[str, object] = msgspec.structs.asdict(record)
    return {
        name: float(value) for name, value in plain.items() if isinstance(value, int | float) and math.isfinite(value)
    }


def _ratio(some: float, of: int) -> float | None:
    return some / of if of else None


def _training(key: Key) -> dict[str, object]:
    return {
        name: value for name, value in _fields(key).items() if name not in (*PromiseRequest.__struct_fields__, "more")
    }


def _fields(key: Key) -> dict[str, object]:
    plain = msgspec.to_builtins(key)
    settings, data, wish = plain.pop("settings"), plain.pop("data"), plain.pop("wish")
    return {**plain, **{f"setting {name}": value for name, value in settings.items()}, **data, **wish}


def _differences(held: Mapping[str, object], came: Mapping[str, object]) -> str:
    names = [name for name in {**held, **came} if held.get(name) != came.get(name)]
    return ", ".join(f"{name}: it has {held.get(name)}, came {came.get(name)}" for name in names)


def _there(key: Key | None, path: Path) -> Key:
    if key is None:
        raise DataError(f"{path}: was there and is gone; something else removes files of this comparison.")
    return key
