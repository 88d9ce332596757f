"""Make an animation from a run folder. The command ``andon animate`` calls this module.

>>> animate("run/", "training.gif", fps=8, panels=("originals", "reconstructions"))             # doctest: +SKIP
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from andon.foundation.errors import ConfigError, TrainingError
from andon.foundation.progress import Progress, silent, track
from andon.foundation.settings import nearest
from andon.runtime.schema import InputSpec, WindowSpec
from andon.training.animation.encode import FORMATS, LEAST_FPS, MOST_FPS, write_gif, write_mp4
from andon.training.animation.stills import ROWS, Picture, stills
from andon.training.animation.windows import window_stills
from andon.training.observers.epoch_snapshots import Snapshot, SnapshotParts, read_snapshot_parts, read_snapshots
from andon.training.runs.paths import SNAPSHOTS
from andon.training.runs.record import RunRecord, read_record

Panel = Literal["originals", "reconstructions", "maps", "samples"]
PANELS = tuple(ROWS)
USUAL_FPS = 5.0
LEAST_SIZE, MOST_SIZE = 64, 4096
"""Limits of the picture width in pixels."""


class Animation(Struct, frozen=True, kw_only=True):
    """Description of an animation that was written."""

    path: Path
    panels: tuple[str, ...]
    epochs: tuple[int | None, ...]
    """Epochs of the pictures, in order. In a finished run the last is the epoch of the final weights (None: unknown)."""
    width: int
    height: int
    fps: float


def animate(
    run: Path | str,
    out: Path | str,
    *,
    fps: float = USUAL_FPS,
    size: int | None = None,
    panels: Sequence[Panel] | None = None,
    progress: Progress = silent,
) -> Animation:
    """Draw the kept snapshots of a run as a GIF or MP4, one picture per epoch. The training may still be running.

    Args:
        run: the run folder.
        out: file to write, ``.gif`` or ``.mp4``. An existing file is replaced.
        fps: epochs per second, `LEAST_FPS` to `MOST_FPS`.
        size: width in pixels, `LEAST_SIZE` to `MOST_SIZE`, made even. None: wide enough to see each part.
        panels: panels to show, below each other. None: all that the run has. Windows always show original and
            reconstruction together.
        progress: reports drawing.

    Raises:
        TrainingError: there is no run, or the run kept no snapshots.
        ConfigError: the run lacks a panel, a format, rate or size is not supported, or `out` is not writable.
        MissingExtra: a package for encoding is not installed.
    """
    target, folder = Path(out), Path(run)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"{target}: expected a file name that ends in {' or '.join(FORMATS)}.")
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise ConfigError(f"--fps: expected {LEAST_FPS:g} to {MOST_FPS:g} epochs per second, got {fps:g}.")
    if size is not None and not LEAST_SIZE <= size <= MOST_SIZE:
        raise ConfigError(f"--size: expected a width of {LEAST_SIZE} to {MOST_SIZE} pixels, got {size}.")
    record = read_record(folder)
    snapshots = read_snapshots(folder / SNAPSHOTS)
    if not snapshots:
        raise TrainingError(_nothing(folder, record))
    parts = read_snapshot_parts(folder / SNAPSHOTS, record.input)
    shown = _selected(panels, _available(snapshots, parts), record.input)
    snapshots = [
        snapshot for snapshot in snapshots if all(panel == "originals" or _has(snapshot, panel) for panel in shown)
    ]
    drawn = track(_stills(snapshots, parts, shown, record, size), progress, "drawing", len(snapshots))
    shape, rate = (write_gif if target.suffix.lower() == ".gif" else write_mp4)(target, drawn, fps)
    epochs = tuple(snapshot.epoch for snapshot in snapshots)
    return Animation(path=target, panels=shown, epochs=epochs, width=shape[1], height=shape[0], fps=rate)


def _nothing(folder: Path, record: RunRecord) -> str:
    why = (
        "training kept no snapshots (--animation-epochs none, an older andon, or no epoch is complete)"
        if record.history or not record.finished
        else f"{record.recipe} does not train in epochs"
    )
    return (
        f"{folder}: found nothing to animate, because {why}. Use a detector with reconstructions, such as autoencoder."
    )


def _has(snapshot: Snapshot, panel: str) -> bool:
    return getattr(snapshot, panel) is not None


def _available(snapshots: Sequence[Snapshot], parts: SnapshotParts | None) -> tuple[str, ...]:
    if parts is None:
        return ("samples",)
    return tuple(panel for panel in PANELS if panel == "originals" or _has(snapshots[-1], panel))


def _selected(panels: Sequence[str] | None, available: tuple[str, ...], spec: InputSpec) -> tuple[str, ...]:
    if isinstance(spec, WindowSpec):
        available = tuple(panel for panel in available if panel in ("originals", "reconstructions"))
    for panel in panels or ():
        if panel not in PANELS:
            raise ConfigError(f"unknown panel {panel!r}{nearest(panel, PANELS)}. Panels: {', '.join(PANELS)}.")
        if panel not in available:
            raise ConfigError(f"panels: expected panels that this run has ({', '.join(available)}), got {panel}.")
    return tuple(panel for panel in available if panels is None or panel in panels)


def _stills(
    snapshots: Sequence[Snapshot],
    parts: SnapshotParts | None,
    shown: tuple[str, ...],
    record: RunRecord,
    size: int | None,
) -> Iterator[Picture]:
    if isinstance(record.input, WindowSpec):
        assert parts is not None, "snapshots of windows always contain reconstructions"
        return window_stills(snapshots, parts, record.input, width=size)
    return stills(snapshots, parts, shown, width=size, note=record.recipe)
