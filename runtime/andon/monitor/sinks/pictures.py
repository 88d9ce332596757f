"""Pictures of rejects: the frame with the anomaly map laid over it, in a folder that keeps the newest ones.

A thread of its own draws and encodes them: passing a frame on costs the judge microseconds. Drawing one takes about 0.17 s of
one core at 1280 x 720 (2-core AMD EPYC server), and the thread rests as long as it worked, so that it never takes more than
half a core from judging. The queue is short: in a burst of rejects pictures are dropped and counted, verdicts never. Only a
source that can wait, such as a finished folder or a video, has to wait for them. The counts are exact: after `close`, each
reject has a picture or is counted as lost. Only our own pictures are replaced or removed. Names are made of our own numbers:
wall time, `seq` and the harmless characters of the key, so that they sort by age and nothing from outside becomes a path.
"""

import collections
import contextlib
import errno
import logging
import os
import re
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError
from andon.monitor.judging import Outcome
from andon.monitor.records import iso
from andon.monitor.sink import SinkContext, SinkKind
from andon.runtime.heat_map import Picture, overlay
from andon.runtime.schema import Card, FrameSpec, Status
from andon.sources.clock import Clock
from andon.sources.opencv import opencv

logger = logging.getLogger(__name__)

MAX_PICTURES = 1000
MAX_BYTES = 1 << 30
QUEUE = 8
"""Rejects that may wait to be drawn: eight 1080p frames are 50 MB."""
LONGEST_SIDE = 1280
"""Pixels; larger frames are reduced before they are drawn upon."""
DRAIN_S = 30.0
"""Longest wait for the queue at the end of a source: a full queue takes some seconds on a slow machine."""
_CLOSE_S = 0.3
_DRAWING_S = 1.0
_JPEG_QUALITY = 90
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d{8,}-[A-Za-z0-9_-]{1,64}\.jpg")


class Settings(Struct, frozen=True, kw_only=True):
    """Where the pictures go, and how many stay."""

    folder: Annotated[str, Meta(min_length=1, description="the folder of the pictures, created where it is missing")]
    max_pictures: Annotated[int, Meta(ge=1, description="the newest so many stay")] = MAX_PICTURES
    max_bytes: Annotated[
        int, Meta(ge=1, description="the newest of so many bytes together stay", extra={"unit": "bytes"})
    ] = MAX_BYTES


class Pictures:
    """Keeps overlays of rejected frames.

    Args:
        folder: made where it is missing. Pictures of earlier runs within count; other files are left alone.
        card: of the model file: its crop and the scale of its maps.
        clock: for resting.
        stop: ends waiting for room in the queue.
        wait: a full queue holds `put` up instead of losing the picture, and the thread does not rest: for sources that can wait.
        max_pictures: the oldest of ours goes beyond that.
        max_bytes: the same for their sizes together.

    Raises:
        ConfigError: the model file judges windows; the folder cannot be made.
        MissingExtra: opencv is not installed.
    """

    def __init__(
        self,
        folder: Path,
        card: Card,
        *,
        clock: Clock,
        stop: Event | None = None,
        wait: bool = False,
        max_pictures: int = MAX_PICTURES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if not isinstance(card.input, FrameSpec):
            raise ConfigError("pictures of rejects need a model file that judges frames; this one judges windows.")
        if max_pictures < 1:
            raise ConfigError(f"expected at least 1 picture to keep, got {max_pictures}.")
        opencv()  # a missing package is said now, not at the first reject
        self._folder = folder
        self._crop = card.input.crop
        self._map_scale = card.calibration.map_scale if card.calibration else None
        self._shelf = _Shelf(folder, max_pictures, max_bytes)
        self._clock = clock
        self._stop = stop if stop is not None else Event()
        self._wait = wait
        self._changed = Condition()  # guards what follows
        self._waiting: collections.deque[Outcome] = collections.deque()
        self._drawing = False
        self._closed = False
        self._written = 0
        self._lost = 0
        self._hurry = Event()
        self._failing = False
        self._thread = Thread(target=self._run, name="andon pictures", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Rejects without a picture: the queue was full, the disk failed, the end came."""
        return self._lost

    @property
    def summary(self) -> str:
        """How many, and how many not."""
        with self._changed:
            return f"{self._written} pictures" + (f", {self._lost} without" if self._lost else "")

    @property
    def hung(self) -> bool:
        """After `close`: a picture is still being drawn or written. An interpreter that ends now may abort the process."""
        return self._closed and self._thread.is_alive()

    def put(self, outcome: Outcome) -> None:
        """Have a rejected frame drawn, if there is room in the queue; others are not kept."""
        if outcome.verdict.status is not Status.REJECT or outcome.data is None:
            return
        with self._changed:
            while self._wait and len(self._waiting) >= QUEUE and not self._closed and not self._stop.is_set():
                self._changed.wait(0.1)
            if len(self._waiting) >= QUEUE or self._closed:
                self._lost += 1
                return
            self._waiting.append(outcome)
            self._changed.notify_all()

    def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Wait until what waits is drawn: for a source that ended by itself, whose owner is in no hurry."""
        self._hurry.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._drawing, timeout_s)

    def close(self) -> None:
        """Draw what waits, for a third of a second; the rest is counted as lost. Wait a second for the one being drawn."""
        self._hurry.set()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)
        with self._changed:
            self._lost += len(self._waiting)
            self._waiting.clear()
        # an interpreter that ends while OpenCV works in another thread aborts the process
        self._thread.join(_DRAWING_S)
        with self._changed:
            if self._drawing:
                self._drawing = False
                self._lost += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                outcome = self._waiting.popleft()
                self._drawing = True
                self._changed.notify_all()
            began_s = self._clock.mono_s()
            kept = self._keep(outcome)
            with self._changed:
                if not self._drawing:  # `close` has given it up and counted it
                    return
                self._drawing = False
                self._written += kept
                self._lost += not kept
                self._changed.notify_all()
            if not self._wait:
                self._hurry.wait(self._clock.mono_s() - began_s)

    def _keep(self, outcome: Outcome) -> bool:
        try:
            self._shelf.add(_name(outcome), self._draw(outcome))
        except Exception as error:  # noqa: BLE001 - a picture less is no reason to lose the next
            if not self._failing:
                logger.warning("%s: a picture could not be kept (%s); judging goes on", self._folder, error)
            self._failing = True
            return False
        self._failing = False
        return True

    def _draw(self, outcome: Outcome) -> bytes:
        frame = _reduced(np.asarray(outcome.data, np.uint8))
        anomaly_map = outcome.verdict.evidence.get("anomaly_map")
        if anomaly_map is not None and self._map_scale:
            picture = overlay(frame, anomaly_map, self._map_scale, crop=self._crop)
        else:  # it decides by a score that no map belongs to: the frame as it is
            picture = frame
        return encode(picture)


class _Shelf:
    """Our pictures in a folder, oldest first; a picture is there whole or not at all."""

    def __init__(self, folder: Path, max_pictures: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_pictures = max_pictures
        self._max_bytes = max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ours = []
            for entry in os.scandir(folder):
                if not entry.is_file(
                    follow_symlinks=False
                ):  # ours are plain files: nothing else of such a name is removed
                    continue
                if _NAME.fullmatch(entry.name):
                    ours.append((entry.name, entry.stat().st_size))
                elif _NAME.fullmatch(entry.name.removeprefix(".").removesuffix(".tmp")):
                    Path(entry.path).unlink(missing_ok=True)  # what a kill left behind
        except OSError as error:
            raise ConfigError(f"{folder}: cannot keep pictures there: {error.strerror}.") from error
        self._kept = collections.deque(sorted(ours))
        self._bytes = sum(size for _, size in self._kept)

    def add(self, name: str, data: bytes) -> None:
        target, unfinished = self._folder / name, self._folder / f".{name}.tmp"
        _require_absent(target)
        _require_absent(unfinished)
        # room first: on a disk that is full, deleting is what still works
        while self._kept and (len(self._kept) >= self._max_pictures or self._bytes + len(data) > self._max_bytes):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            (self._folder / oldest).unlink(missing_ok=True)
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        self._kept.append((name, len(data)))
        self._bytes += len(data)


def _require_absent(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path.name)


def encode(picture: Picture) -> bytes:
    """A picture, RGB ``[H, W, 3]`` or grey ``[H, W, 1]``, as JPEG."""
    cv2 = opencv()
    # cv2 wants BGR
    ordered: NDArray[Any] = np.ascontiguousarray(picture[:, :, ::-1]) if picture.shape[-1] == 3 else picture
    done, data = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise OSError(f"a picture {list(picture.shape)} cannot be written as JPEG")
    encoded: bytes = data.tobytes()
    return encoded


def _reduced(frame: Picture) -> Picture:
    height, width, channels = frame.shape
    share = LONGEST_SIDE / max(height, width)
    if share >= 1.0:
        return frame
    cv2 = opencv()
    size = (max(1, round(width * share)), max(1, round(height * share)))
    smaller = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8).reshape(size[1], size[0], channels)


def _name(outcome: Outcome) -> str:
    at = iso(outcome.wall_s).replace("-", "").replace(":", "")
    key = re.sub(r"[^A-Za-z0-9_-]+", "-", outcome.ref.key)[-64:].strip("-") or "item"
    return f"{at}-{outcome.seq:08}-{key}.jpg"


def _refuse_within(source: str, folder: str) -> None:
    watched, kept = Path(os.path.realpath(source)), Path(os.path.realpath(folder))
    if not watched.is_dir() or not kept.is_relative_to(watched):
        return
    if any(name.startswith(".") for name in kept.relative_to(watched).parts):  # hidden folders are not watched
        return
    raise ConfigError(
        f"{folder}: expected a folder for pictures outside {source}, got one inside, where each picture of a reject would be "
        f"judged again. Give another folder, or a hidden one such as {Path(source) / '.rejects'}."
    )


def _open_sink(settings: Settings, context: SinkContext) -> Pictures:
    _refuse_within(context.source, settings.folder)
    return Pictures(
        Path(settings.folder),
        context.card,
        clock=context.clock,
        stop=context.stop,
        wait=context.can_wait,
        max_pictures=settings.max_pictures,
        max_bytes=settings.max_bytes,
    )


SINK = SinkKind(
    name="pictures",
    summary="pictures of rejected frames with the anomaly map over them, the newest ones",
    settings=Settings,
    open=_open_sink,
)
