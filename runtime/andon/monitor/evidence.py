"""Keep pictures of the time before, at and after an event, and the window of a sensor event, as files next to the event store.

The judging thread only passes references. One thread encodes and writes:

* A few small pictures a second of each line stay in memory as JPEG. They become the pictures before an event.
* The frame of the event is stored in full resolution.
* The small pictures after the event are stored when they arrive. If the camera is lost, the earlier ones are already durable.
* A window of sensor data is stored as CSV text with one column for each channel.

A file is written under another name, flushed and renamed, and only then the store gets its row. A file without a row is an
orphan, for example after a power failure. `sweep` deletes orphans.
"""

import collections
import contextlib
import csv
import io
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from msgspec import Meta, Struct

from andon.monitor.event import Event, Evidence
from andon.monitor.store import EVIDENCE_NAME
from andon.runtime.grey_levels import grey_levels
from andon.runtime.items import Data
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock
from andon.sources.opencv import opencv

logger = logging.getLogger(__name__)

QUEUE = 32
"""Largest number of waiting files. 32 frames of 1080p are 200 MB, but full frames are the smallest part of them."""
SMALL_HEIGHT = 540
"""Height of the pictures before and after an event, in pixels."""
ORPHAN_S = 3600.0
"""Age from which a file without a row is deleted. A younger one may still get its row."""
SWEEP_S = 86400.0
"""Time between two sweeps."""
_SMALL_QUALITY = 75
_FULL_QUALITY = 90
_DATA_DIMS = 2
_SWEEP_PAGE = 500
_CLOSE_S = 1.0
_UNFINISHED = re.compile(r"\.([0-9a-f]{32}-\d{1,4}\.(?:jpg|csv))\.tmp")

Moment = Literal["before", "at", "after"]


class EvidenceSettings(Struct, frozen=True, kw_only=True):
    """Settings of the evidence, the table ``[evidence]``."""

    before_s: Annotated[
        float, Meta(ge=0, le=30, description="pictures from this time before an event", extra={"unit": "s"})
    ] = 2.0
    after_s: Annotated[
        float, Meta(ge=0, le=30, description="pictures up to this time after an event", extra={"unit": "s"})
    ] = 2.0
    rate_hz: Annotated[
        float,
        Meta(gt=0, le=5, description="pictures before and after an event, in a second of a line", extra={"unit": "Hz"}),
    ] = 2.0


class Rows(Protocol):
    """The part of `StoreWriter` that evidence needs."""

    def evidence(self, key: str, place: int, evidence: Evidence, size: int) -> None:
        """Queue the row of a file."""
        ...


class SmallPicture(NamedTuple):
    """A small picture in memory."""

    at_s: float
    jpeg: bytes


class PictureRing:
    """The newest small pictures of a line, as JPEG.

    >>> ring = PictureRing(keep_s=2.0)
    >>> for second in range(5):
    ...     ring.add(SmallPicture(float(second), b"jpeg"))
    >>> [picture.at_s for picture in ring.until(4.0)]
    [2.0, 3.0, 4.0]
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._pictures: collections.deque[SmallPicture] = collections.deque()

    def add(self, picture: SmallPicture) -> None:
        """Add the newest picture, and drop those that are too old."""
        self._pictures.append(picture)
        while self._pictures[0].at_s < picture.at_s - self._keep_s:
            self._pictures.popleft()

    def until(self, at_s: float) -> list[SmallPicture]:
        """Return the pictures up to a time, oldest first."""
        return [picture for picture in self._pictures if at_s - self._keep_s <= picture.at_s <= at_s]


class _Job(Struct):
    """A file to write."""

    key: str
    place: int
    day: str
    moment: Moment
    offset_s: float
    data: bytes | Data
    """JPEG, or a frame or window that is encoded first."""
    channels: tuple[str, ...] = ()
    spec: InputSpec | None = None
    """Scale of uint16 frames."""


class _Open(Struct):
    """An event whose pictures after it are still arriving."""

    key: str
    day: str
    at_s: float
    next_place: int


class _LineEvidence:
    """The state of one line, guarded by the lock."""

    def __init__(self, keep_s: float) -> None:
        self.ring = PictureRing(keep_s)
        self.last_s = float("-inf")
        self.newest: tuple[float, Data, InputSpec | None] | None = None
        """The frame that waits for encoding, its time before it, and its scale after it. A newer one replaces it."""
        self.open: list[_Open] = []


class EvidenceWriter:
    """Encode and write evidence in one thread.

    Args:
        folder: folder of the files, created if it is missing.
        rows: the event store.
        settings: times and rate.
        clock: for the day in the path of files without a time, and for the sweep.
        known: function that returns those of some names that have a row, for the sweep (`StoreReader.known`).
        pictures: False if no line judges frames. OpenCV is then not needed.

    Raises:
        MissingExtra: OpenCV is not installed, and `pictures` is true.
    """

    def __init__(
        self,
        folder: Path,
        rows: Rows,
        settings: EvidenceSettings,
        clock: Clock,
        *,
        known: Callable[[Sequence[str]], set[str]],
        pictures: bool = True,
    ) -> None:
        if pictures:
            opencv()  # reports a missing package now and not at the first event
        self._folder = folder
        self._rows = rows
        self._settings = settings
        self._clock = clock
        self._known = known
        self._changed = threading.Condition()  # guards the attributes below
        self._lines: dict[str, _LineEvidence] = {}
        self._jobs: collections.deque[_Job] = collections.deque()
        self._busy = False
        self._closed = False
        self._failing = False
        self._next_sweep_s = clock.mono_s()
        self._thread = threading.Thread(target=self._run, name="andon evidence", daemon=True)
        self._thread.start()

    def offer(self, line: str, frame: Data, at_s: float, *, spec: InputSpec | None = None) -> None:
        """Pass a frame of a line for the pictures before and after events. Most frames are ignored at once.

        The frame must not be changed later.

        Args:
            line: name of the line.
            frame: uint8 or uint16 ``[H, W, C]``. Windows are ignored.
            at_s: monotonic time of the frame.
            spec: the input of the model file, for the scale of uint16 frames (`grey_levels`).
        """
        if frame.ndim <= _DATA_DIMS:
            return
        with self._changed:
            state = self._line(line)
            if at_s - state.last_s < 1 / self._settings.rate_hz:
                return
            state.last_s = at_s
            state.newest = (at_s, frame, spec)
            self._changed.notify_all()

    def event(
        self,
        event: Event,
        data: Data | None,
        at_s: float,
        *,
        channels: Sequence[str] = (),
        around: bool = True,
        spec: InputSpec | None = None,
    ) -> None:
        """Store the evidence of an event that was put into the store before. Return at once, and never raise.

        Args:
            event: the event. Its key and its day name the files.
            data: the frame or window of the event, or None if there is none.
            at_s: monotonic time of the event, on the clock of `offer`.
            channels: names of the channels of a window, for the header.
            around: also store the pictures before and after the event.
            spec: the input of the model file, for the scale of uint16 frames (`grey_levels`).
        """
        with self._changed:
            state = self._line(event.line)
            day = _day(event.wall_us)
            place = 0
            if data is not None:
                # first, because it is the most important one
                self._append(_Job(event.key, place, day, "at", 0.0, data, tuple(channels), spec))
                place += 1
            for picture in state.ring.until(at_s) if around else ():
                self._append(_Job(event.key, place, day, "before", picture.at_s - at_s, picture.jpeg))
                place += 1
            if around and self._settings.after_s > 0 and state.last_s > float("-inf"):
                # without frames, for example of a lost camera, nothing else removes old ones
                state.open = [one for one in state.open if at_s <= one.at_s + self._settings.after_s][-QUEUE:]
                state.open.append(_Open(event.key, day, at_s, place))
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all files are written. Return False if they are not within the time limit."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._jobs or self._frames() or self._busy), timeout_s)

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Write what waits, for at most this long. Never raise."""
        self.drain(timeout_s)
        with self._changed:
            self._closed = True
            for job in self._jobs:
                self._drop(job, "stopped")
            self._jobs.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)

    @property
    def hung(self) -> bool:
        """True if the thread still runs after `close`. If the interpreter ends now, the process may abort."""
        return self._closed and self._thread.is_alive()

    # ------------------------------------------------------------------ the caller holds the lock

    def _line(self, name: str) -> _LineEvidence:
        return self._lines.setdefault(name, _LineEvidence(self._settings.before_s))

    def _append(self, job: _Job) -> None:
        if self._closed:
            self._drop(job, "stopped")
        elif len(self._jobs) >= QUEUE:
            self._drop(job, "queue_full")
        else:
            self._jobs.append(job)

    def _drop(self, job: _Job, reason: str) -> None:
        row = Evidence(name="", moment=job.moment, offset_s=job.offset_s, dropped=reason)
        self._rows.evidence(job.key, job.place, row, 0)

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed or self._frames(), 1.0)
                if self._closed:
                    return
                job = self._jobs.popleft() if self._jobs else None
                frames = [] if job else self._take_frames()
                self._busy = True
            try:
                if job is not None:
                    self._write(job)
                for line, at_s, frame, spec in frames:
                    self._add(line, at_s, grey_levels(frame, spec))
                if job is None and not frames and self._clock.mono_s() >= self._next_sweep_s:
                    self._next_sweep_s = self._clock.mono_s() + SWEEP_S
                    sweep(self._folder, self._known)
            except Exception:
                logger.exception("%s: evidence failed with an unexpected error. Report this as a bug.", self._folder)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _frames(self) -> bool:
        return any(state.newest is not None for state in self._lines.values())

    def _take_frames(self) -> list[tuple[str, float, Data, InputSpec | None]]:
        taken = [(name, *state.newest) for name, state in self._lines.items() if state.newest is not None]
        for name, *_ in taken:
            self._lines[name].newest = None
        return taken

    def _add(self, line: str, at_s: float, frame: Data) -> None:
        """Keep a small picture for later events, and store it for open ones."""
        jpeg = encode_picture(_small(frame), _SMALL_QUALITY)
        with self._changed:
            state = self._lines[line]
            state.ring.add(SmallPicture(at_s, jpeg))
            state.open = [one for one in state.open if at_s <= one.at_s + self._settings.after_s]
            for one in state.open:
                if at_s > one.at_s:
                    self._append(_Job(one.key, one.next_place, one.day, "after", at_s - one.at_s, jpeg))
                    one.next_place += 1

    def _write(self, job: _Job) -> None:
        is_window = not isinstance(job.data, bytes) and job.data.ndim <= _DATA_DIMS
        name = f"{job.day}/{job.key}-{job.place}.{'csv' if is_window else 'jpg'}"
        try:
            if isinstance(job.data, bytes):
                data = job.data
            elif is_window:
                data = window_text(job.data, job.channels)
            else:
                data = encode_picture(grey_levels(job.data, job.spec), _FULL_QUALITY)
            write_file(self._folder, name, data)
        except OSError as error:
            if not self._failing:
                logger.warning("%s: evidence cannot be written: %s. Judging continues.", self._folder, error)
            self._failing = True
            self._drop(job, "disk")
            return
        self._failing = False
        self._rows.evidence(
            job.key, job.place, Evidence(name=name, moment=job.moment, offset_s=job.offset_s), len(data)
        )


def encode_picture(frame: Data, quality: int) -> bytes:
    """Encode a frame, uint8 ``[H, W, C]`` in RGB or grey, as JPEG.

    Raises:
        OSError: the frame cannot be encoded.
    """
    cv2 = opencv()
    ordered = np.ascontiguousarray(frame[:, :, ::-1]) if frame.shape[-1] == 3 else frame  # OpenCV expects BGR
    done, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OSError(f"a picture of shape {list(frame.shape)} cannot be encoded as JPEG")
    return bytes(data)


def window_text(window: Data, channels: Sequence[str] = ()) -> bytes:
    """Return a window ``[T, C]`` as CSV text with a header.

    >>> window_text(np.array([[1.5, 2.0]], np.float32), ["current", "voltage"])
    b'current,voltage\\n1.5,2.0\\n'
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(channels if len(channels) == window.shape[-1] else [f"channel_{n}" for n in range(window.shape[-1])])
    table.writerows(window.tolist())
    return text.getvalue().encode(errors="backslashreplace")


def write_file(folder: Path, name: str, data: bytes) -> None:
    """Write a file of evidence. After this function returns, a power failure does not remove it.

    Raises:
        OSError: the file cannot be written. No part of it is left.
    """
    path = folder / name
    _make_folder(path.parent, folder)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        handle = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with open(handle, "wb") as stream:  # noqa: PTH123 - a handle, not a path
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def sweep(folder: Path, known: Callable[[Sequence[str]], set[str]], *, now_s: float | None = None) -> int:
    """Delete files of evidence without a row and unfinished files, if they are older than `ORPHAN_S`. Return their number.

    Only names that this module gives are touched, and links are never followed.

    Args:
        folder: the evidence folder.
        known: function that returns those of some names that have a row.
        now_s: time to compare with the files' own times. Default: the time of the file system, from a new file in the folder.
    """
    if not folder.is_dir():
        return 0
    if now_s is None:
        now_s = _file_system_time(folder)
    deleted = 0
    old: list[str] = []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            if path.lstat().st_mtime > now_s - ORPHAN_S:
                continue
        except FileNotFoundError:  # retention has deleted it in the meantime
            continue
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
            deleted += 1
        elif EVIDENCE_NAME.fullmatch(name):
            old.append(name)
    for first in range(0, len(old), _SWEEP_PAGE):
        page = old[first : first + _SWEEP_PAGE]
        for name in set(page) - known(page):
            (folder / name).unlink(missing_ok=True)
            deleted += 1
    _remove_empty_days(folder)
    if deleted:
        logger.info("%s: deleted %d files of evidence without an event", folder, deleted)
    return deleted


def _small(frame: Data) -> Data:
    height, width = frame.shape[:2]
    if height <= SMALL_HEIGHT:
        return frame
    cv2 = opencv()
    size = (max(1, round(width * SMALL_HEIGHT / height)), SMALL_HEIGHT)
    smaller = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8).reshape(size[1], size[0], frame.shape[2])


def _day(wall_us: int) -> str:
    return datetime.fromtimestamp(wall_us / 1e6, UTC).strftime("%Y/%m/%d")


def _make_folder(path: Path, root: Path) -> None:
    """Create a folder of a day. New entries in the folders above are flushed too."""
    if path.is_dir():
        return
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    above = path.parent
    while above.is_relative_to(root):
        _flush_folder(above)
        above = above.parent


def _flush_folder(path: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder, followlinks=False):
        for name in names:
            path = Path(root, name)
            if not path.is_symlink():
                yield path


def _file_system_time(folder: Path) -> float:
    """Return the present time of a folder's file system, so that a wrong wall clock does not make young files old."""
    probe = folder / ".now"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _remove_empty_days(folder: Path) -> None:
    for root, _, _ in os.walk(folder, topdown=False, followlinks=False):
        if Path(root) != folder:
            with contextlib.suppress(OSError):
                Path(root).rmdir()  # fails if it is not empty
