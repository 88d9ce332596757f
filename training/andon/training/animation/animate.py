"""From a run folder to an animation: what ``andon animate`` does.

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
"""Of a picture's width, in pixels."""


class Animation(Struct, frozen=True, kw_only=True):
    """What was made."""

    path: Path
    panels: tuple[str, ...]
    epochs: tuple[int | None, ...]
    """Of the pictures, in order; the last is that of the kept weights, once there are such (None: not known)."""
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
    """Draw what was seen at each epoch that was kept, and make a GIF or an MP4 of it. A training may still be running.

    Args:
        run: the run folder.
        out: ``.gif`` or ``.mp4``; written over.
        fps: epochs shown a second, `LEAST_FPS` to `MOST_FPS`.
        size: width in pixels, `LEAST_SIZE` to `MOST_SIZE`, made even; None: so that each part can be seen.
        panels: what to show, below each other; None: all there is. Windows are always shown with what was rebuilt of them.
        progress: told of drawing.

    Raises:
        TrainingError: no run there, or one that kept nothing to show.
        ConfigError: a panel that this run has not, another format, rate or size, or the place cannot be written to.
        MissingExtra: a package that encodes is missing.
    """
    target, folder = Path(out), Path(run)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"{target}: expected a name that ends in {' or '.join(FORMATS)}.")
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise ConfigError(f"--fps {fps:g}: expected {LEAST_FPS:g} to {MOST_FPS:g} epochs a second.")
    if size is not None and not LEAST_SIZE <= size <= MOST_SIZE:
        raise ConfigError(f"--size {size}: expected a width of {LEAST_SIZE} to {MOST_SIZE} pixels.")
    record = read_record(folder)
    snapshots = read_snapshots(folder / SNAPSHOTS)
    if not snapshots:
        raise TrainingError(_nothing(folder, record))
    parts = read_snapshot_parts(folder / SNAPSHOTS, record.input)
    shown = _chosen(panels, _there(snapshots, parts), record.input)
    snapshots = [
        snapshot for snapshot in snapshots if all(panel == "originals" or _has(snapshot, panel) for panel in shown)
    ]
    drawn = track(_stills(snapshots, parts, shown, record, size), progress, "drawing", len(snapshots))
    shape, rate = (write_gif if target.suffix.lower() == ".gif" else write_mp4)(target, drawn, fps)
    epochs = tuple(snapshot.epoch for snapshot in snapshots)
    return Animation(path=target, panels=shown, epochs=epochs, width=shape[1], height=shape[0], fps=rate)


def _nothing(folder: Path, record: RunRecord) -> str:
    why = (
        "training kept nothing of its epochs (--animation-epochs none, an older andon, or not one epoch is done)"
        if record.history or not record.finished
        else f"{record.recipe} does not learn by epochs"
    )
    return (
        f"{folder}: there is nothing to animate: {why}. A detector that rebuilds, such as autoencoder, can be animated."
    )


def _has(snapshot: Snapshot, panel: str) -> bool:
    return getattr(snapshot, panel) is not None


def _there(snapshots: Sequence[Snapshot], parts: SnapshotParts | None) -> tuple[str, ...]:
    if parts is None:
        return ("samples",)
    return tuple(panel for panel in PANELS if panel == "originals" or _has(snapshots[-1], panel))


def _chosen(panels: Sequence[str] | None, there: tuple[str, ...], spec: InputSpec) -> tuple[str, ...]:
    if isinstance(spec, WindowSpec):
        there = tuple(panel for panel in there if panel in ("originals", "reconstructions"))
    for panel in panels or ():
        if panel not in PANELS:
            raise ConfigError(f"there is no panel {panel!r}{nearest(panel, PANELS)}. Panels: {', '.join(PANELS)}.")
        if panel not in there:
            raise ConfigError(f"this run has no {panel} to show. It has: {', '.join(there)}.")
    return tuple(panel for panel in there if panels is None or panel in panels)


def _stills(
    snapshots: Sequence[Snapshot],
    parts: SnapshotParts | None,
    shown: tuple[str, ...],
    record: RunRecord,
    size: int | None,
) -> Iterator[Picture]:
    if isinstance(record.input, WindowSpec):
        assert parts is not None, "windows are only ever rebuilt"
        return window_stills(snapshots, parts, record.input, width=size)
    return stills(snapshots, parts, shown, width=size, note=record.recipe)
