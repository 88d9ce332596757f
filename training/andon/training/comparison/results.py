"""Read and write the files in the folder of a cell.

===================  ===================================================================================================
``cell.json``        `Key`: identifies the cell. Written before the cell starts.
``run/``             the run folder. An interrupted training resumes from it.
``cost.json``        `Cost` of the training. Written when it has finished.
``model.onnx``       the exported file.
``evaluation.json``  the whole evaluation.
``result.json``      `Result`. Written last, so its presence means that the cell is done.
``error.json``       `Failure` of the last attempt, if it failed. The next run tries again.
``lock``             present while a process works on the cell (`folder_lock`).
===================  ===================================================================================================

With an engine, each try works in a folder ``seed-N.part-DRIVER-TRY`` next to it (`cell_job`).
"""

import glob
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
from andon.training.comparison.plan import Cell, Key
from andon.training.runs.folder_lock import is_locked

CELL, RUN_FOLDER, COST, MODEL = "cell.json", "run", "cost.json", "model.onnx"
EVALUATION, RESULT, ERROR = "evaluation.json", "result.json", "error.json"

S = TypeVar("S", bound=Struct)


class Cost(Struct, frozen=True, kw_only=True):
    """Time that a training took, including reading of the data."""

    wall_s: float | None
    """Wall time in seconds; None if unknown. For an interrupted training, the sum of the times recorded for its epochs."""
    cpu_s: float | None
    """Process time in seconds, summed over threads; None if the training was interrupted."""


class Result(Struct, frozen=True, kw_only=True):
    """Results of a finished cell: ``result.json``."""

    cell: Key
    kind: Literal["frame", "window"]
    figures: dict[str, float]
    """Numbers of the evaluation by name, and additional results that the caller requested. Only finite values."""
    promise: str
    n_train: int
    n_validation: int
    n_calibration: int
    training: Cost
    export_s: float
    evaluate_s: float
    latency_ms: float | None
    """Median time of one call with an item of `item_shape`, on one thread; None if it was not measured."""
    gemm_ms: float | None
    """Time of a 1024 x 1024 x 1024 matrix product measured at the same moment. It shows the speed of the machine."""
    item_shape: tuple[int, ...] | None
    file_mb: float
    model: str
    """Short digest of the file."""
    fingerprint: str
    """Digest of the training parts."""
    threads: int
    device: str
    andon: str
    versions: dict[str, str]
    date: str
    judged_share: float | None = None
    """Share of the frame's pixels that count; None without masks."""


class Failure(Struct, frozen=True, kw_only=True):
    """Reason why the last attempt failed: ``error.json``."""

    message: str
    kind: str
    traceback: str = ""
    """Traceback of a bug; empty for an `AndonError`."""
    date: str


class CellStatus(Struct, frozen=True, kw_only=True):
    """State of a cell: done, failed, in progress, or none of these."""

    key: Key
    folder: str
    result: Result | None = None
    failure: Failure | None = None
    busy: bool = False
    """True while a process works on the cell."""


def cell_statuses(out: Path) -> list[CellStatus]:
    """Return the status of all cells in the folder of a comparison, sorted by folder name.

    Raises:
        DataError: a file of the comparison is damaged.
    """
    found = []
    for path in sorted(out.glob(f"*/*/*/{CELL}")):
        folder = path.parent
        result = read(folder / RESULT, Result)
        found.append(
            CellStatus(
                key=_require(read(path, Key), path),
                folder=folder.relative_to(out).as_posix(),
                result=result,
                failure=None if result else read(folder / ERROR, Failure),
                busy=result is None and (is_locked(folder) or any(map(is_locked, part_folders(folder)))),
            )
        )
    return found


def is_done(cell: Cell, out: Path) -> bool:
    """Return whether the folder of a comparison has the result of a cell."""
    result = read(out / cell.folder / RESULT, Result)
    return result is not None and with_new_defaults(result.cell, type(cell.choice.settings)) == cell.key


def part_prefix(folder: Path) -> str:
    """Return the beginning of the names of the folders in which an engine works on a cell."""
    return f"{folder.name}.part-"


def part_folders(folder: Path) -> list[Path]:
    """Return the folders in which engines work on a cell, or have worked until they were interrupted."""
    return sorted(folder.parent.glob(f"{glob.escape(part_prefix(folder))}*"))


def reserve_folder(folder: Path, key: Key, settings: type[Struct] | None = None) -> None:
    """Check that a folder belongs to a cell. If the folder is new, write ``cell.json``.

    Args:
        folder: folder of the cell.
        key: key of the cell.
        settings: settings type of the detector, for `with_new_defaults`.

    Raises:
        ConfigError: the folder contains a result or a training of another cell.
    """
    done = read(folder / RESULT, Result)
    held = done.cell if done else read(folder / CELL, Key)
    held = with_new_defaults(held, settings) if held and settings else held
    if held == key and (folder / CELL).exists():
        return
    if held is not None:
        trained, wanted = _training(held), _training(key)
        if trained != wanted:
            raise ConfigError(
                f"{folder}: the folder contains another cell ({_differences(trained, wanted)}). Give another --out, or delete "
                "that folder."
            )
        if done is not None and held != key:
            raise ConfigError(
                f"{folder}: the folder contains a result of the same training for another promise or other figures "
                f"({_differences(_fields(done.cell), _fields(key))}). Give another --out. Or delete its {RESULT}, to export "
                "and evaluate it again without training."
            )
    write(folder / CELL, key)


def with_new_defaults(held: Key, settings: type[Struct]) -> Key:
    """Return an older key, completed with defaults of newer settings. These defaults keep the behaviour of the older key."""
    if not set(held.settings) <= {field.name for field in msgspec.structs.fields(settings)}:
        return held
    try:
        now = msgspec.convert(held.settings, settings)
    except msgspec.ValidationError:
        return held
    return msgspec.structs.replace(held, settings=msgspec.json.decode(msgspec.json.encode(now)))


def read(path: Path, kind: type[S]) -> S | None:
    """Read a record from the folder of a cell. Return None if there is no such file.

    Raises:
        DataError: the file is damaged or not readable.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected a record written by andon: {error}. Delete that file.") from error


def write(path: Path, record: Struct) -> None:
    """Write a record into the folder of a cell atomically."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def frame_figures(evaluation: Evaluation) -> dict[str, float]:
    """Return the numbers of an evaluation of frames by name."""
    return _numbers(evaluation)


def log_figures(evaluation: LogEvaluation) -> dict[str, float]:
    """Return the numbers of an evaluation of logs: over all files, averaged by file, and rates computed from the counts."""
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


def _differences(held: Mapping[str, object], given: Mapping[str, object]) -> str:
    names = [name for name in {**held, **given} if held.get(name) != given.get(name)]
    return ", ".join(f"{name}: contains {held.get(name)}, got {given.get(name)}" for name in names)


def _require(key: Key | None, path: Path) -> Key:
    if key is None:
        raise DataError(
            f"{path}: the file disappeared during reading. Check which program removes files of this comparison."
        )
    return key
