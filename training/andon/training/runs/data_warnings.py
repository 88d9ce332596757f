"""Warnings about the good parts of a training: what was found, what it means, and what to do.

The functions decide from facts and return texts. `train` logs the texts and keeps them in the record of the run.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct, structs

from andon.calibration.promise import LADDER, ladder_alpha, parts_needed
from andon.calibration.split import total_for
from andon.calibration.windows_needed import windows_needed
from andon.export.tile_grid import canvas
from andon.foundation.printable import printable
from andon.runtime.calibration_facts import percent
from andon.runtime.schema import FrameSpec, WindowSpec
from andon.sources.collection import FoundFrames
from andon.training.recipe.tiling import AUTO, cost_text, tiles_for
from andon.training.runs.window_choice import shown_time

FEW_TO_TRAIN = 30
"""Number of training parts below which a warning is logged."""
WEAK_PROMISE = 0.05
"""A warning is logged if the calibration parts support no promise as strict as this one (at 95 % confidence)."""
REDUCED = 3.0
"""Factor of reduction from which frames count as far larger than the network's input.

Spots of a few pixels then disappear (`docs/results.md`, "Small defects in large frames").
"""
_LISTED = 4


class Suspect(Struct, frozen=True, kw_only=True):
    """A training part that looks unlike all others."""

    key: str
    times: float
    """Its score in units of the median score of the training parts, compared with other parts only."""
    left_out: bool
    """True if the detector was not trained on it."""


class DataWarning(Struct, frozen=True, kw_only=True):
    """A warning about the good parts of a training."""

    kind: Literal["mixed_sizes", "large_frames", "tiles", "few_parts", "suspects", "few_windows", "log"]
    text: str


def mixed_sizes(found: FoundFrames) -> DataWarning | None:
    """Return a warning if the frames have several sizes, because then the model file cannot check the frame size."""
    if not found.sizes:
        return None
    listed = ", ".join(f"{count} of {height} x {width}" for (height, width), count in found.sizes[:_LISTED])
    more = f" and {len(found.sizes) - _LISTED} more sizes" if len(found.sizes) > _LISTED else ""
    (height, width), count = found.sizes[0]
    return DataWarning(
        kind="mixed_sizes",
        text=f"the good parts have {len(found.sizes)} sizes (height x width: {listed}{more}), so the model file will accept "
        "frames of any size. It will not notice a camera that changes its resolution. To get this check, train on one size: "
        f"--frame-size {height}x{width} uses these {count} frames only.",
    )


def large_frames(found: FoundFrames, spec: FrameSpec, settings: Any, *, cell: int) -> DataWarning | None:
    """Return a warning if the frames are far larger than the network's input, because small defects then disappear.

    Args:
        found: description of the frames.
        spec: input of the network.
        settings: settings of the detector. Its presets and sizes are offered as a remedy.
        cell: side of one cell of the detector's finest map, in pixels of the network.
    """
    height, width = found.frame_size or found.largest
    seen = spec.size if spec.tiles is None else canvas(spec, spec.tiles)
    factor = max(height / seen[0], width / seen[1])
    if factor < REDUCED:
        return None
    names = settings.__struct_fields__
    ways = ["crop the frames to the part"]
    if "preset" in names and structs.asdict(settings)["preset"] != "fine" and "size" in names:
        ways.append("--preset fine")
    if "size" in names:
        ways.append(f"--size with more than {max(spec.size)}")
    covered = f"one pixel of the network covers about {factor:.2g} x {factor:.2g} pixels of the frame"
    if cell > 1:
        covered += f", and one cell of its map {_rounded(cell * factor)} x {_rounded(cell * factor)}"
    smallest = _rounded(max(2.0, cell / 2) * factor)
    return DataWarning(
        kind="large_frames",
        text=f"the frames are {height} x {width} (height x width), but the network sees {seen[0]} x {seen[1]}: "
        f"{covered}. Defects much smaller than about {smallest} pixels (a rough estimate) will probably be missed. "
        f"If yours are smaller: {', or '.join(ways)}.{_tiles_offered(found, spec) if 'tile' in names else ''}",
    )


def tiles_asked_for(found: FoundFrames, spec: FrameSpec) -> DataWarning | None:
    """Return a statement of what the tiles of an input cost, or None if it has none."""
    if spec.tiles is None or found.frame_size is None:
        return None
    return DataWarning(kind="tiles", text=f"{cost_text(spec.tiles, found.frame_size, spec)}.")


def _tiles_offered(found: FoundFrames, spec: FrameSpec) -> str:
    """Return what tiles of full detail would cost. Tiles are for frames of one size."""
    if found.frame_size is None:
        return " Tiles would keep the detail of small defects, but only if all frames have one size: --frame-size."
    whole = structs.replace(spec, tiles=None)
    tiles = tiles_for(AUTO, found.frame_size, spec.size)
    if tiles is None:
        return ""
    return f" --tile auto would keep their detail: {cost_text(tiles, found.frame_size, whole)}."


def few_parts(train: int, calibration: int, *, share: float, grouped: bool) -> DataWarning | None:
    """Return a warning if there are few parts to train on, or if the calibration parts support only a weak promise.

    Args:
        train: number of readable training parts.
        calibration: number of calibration parts.
        share: calibration share of the run.
        grouped: whether files were grouped to parts, so that numbers of files to collect are unknown.
    """
    alpha = ladder_alpha(calibration)
    if train >= FEW_TO_TRAIN and alpha is not None and alpha <= WEAK_PROMISE:
        return None
    support = "no promise" if alpha is None else f"a promise of at most {percent(alpha)} false rejects"
    needs = []
    for wanted in (0.05, 0.01):
        need = parts_needed(wanted)
        if need > calibration:
            total = "" if grouped else f" (about {_up(total_for(need, share))} good parts in total)"
            needs.append(f"{percent(wanted)} needs {need}{total}")
    return DataWarning(
        kind="few_parts",
        text=f"few good parts: {train} for training and {calibration} for calibration. "
        f"The calibration parts support {support} at 95 % confidence"
        + (f"; {', '.join(needs)}. Collect more good parts" if needs else "")
        + (
            f". Fewer than {FEW_TO_TRAIN} training parts rarely show all that good parts look like."
            if train < FEW_TO_TRAIN
            else "."
        ),
    )


def few_windows(calibration: int, spec: WindowSpec, share: float) -> DataWarning | None:
    """Return a warning if the calibration windows support no promise, even if they do not depend on each other.

    Args:
        calibration: number of calibration windows that share no row.
        spec: the windows.
        share: calibration share of the run.
    """
    need = windows_needed(max(LADDER), 0.95, 1.0)
    if calibration >= need:
        return None
    missing = math.ceil((need - calibration) * spec.steps / share)
    shorter = calibration * spec.steps // need
    offer = f", or windows of at most {shorter} rows" if shorter else ""
    return DataWarning(
        kind="few_windows",
        text=f"{calibration} calibration windows of {spec.steps} rows are too few for a promise: it needs at least {need}, and "
        f"more if neighbouring windows depend on each other. That takes about {missing} more good rows "
        f"({shown_time(missing * spec.period_s)}){offer}. Until then, export with --no-promise.",
    )


def of_log(notes: Sequence[str], faulty: int) -> tuple[DataWarning, ...]:
    """Return what was done to a log before training: units, sorting, label columns, and rows that were left out."""
    texts = list(notes)
    if faulty:
        texts.append(f"{faulty} rows that are labelled as faulty were left out, with the windows that touch them")
    return tuple(DataWarning(kind="log", text=f"log: {text}.") for text in texts)


def suspicious(found: Sequence[Suspect], train: int) -> DataWarning | None:
    """Return a warning that names the suspicious parts."""
    if not found:
        return None
    listed = ", ".join(f"{printable(suspect.key)} ({suspect.times:.2g} times)" for suspect in found[:10])
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    if found[0].left_out:
        done = (
            "They were left out of the memory. Look at them: remove the bad ones. If all are good, train with "
            "--suspects keep."
        )
    else:
        done = "They were used. Look at them, remove the bad ones and train again."
    return DataWarning(
        kind="suspects",
        text=f"{len(found)} of {train} training parts look{'s' if len(found) == 1 else ''} unlike all others, with "
        f"their score in units of the median: {listed}{more}. {done}",
    )


def _rounded(pixels: float) -> int:
    """Round to one significant digit below 20 and to two above, because the value is an estimate."""
    step = 1 if pixels < 20 else 10 ** (math.floor(math.log10(pixels)) - 1)
    return max(1, round(pixels / step) * step)


def _up(total: int) -> int:
    """Round up to two significant digits."""
    step: int = 10 ** max(0, len(str(total)) - 2)
    return -(-total // step) * step
