"""Pictures in a folder: as a collection for training and scoring, or followed as they arrive."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock
from andon.sources.collection import FoundFrames, Stream
from andon.sources.live.folder_follow import FollowSettings, follow, unlisted_folder
from andon.sources.opencv import opencv
from andon.sources.pictures.decode import MAX_BYTES, Channels, Frame, WarnedKinds, decode_file, frame_channels, header
from andon.sources.pictures.folder import (
    Listing,
    PictureFile,
    is_in,
    is_picture,
    layout,
    open_listing,
    survey,
)
from andon.sources.pictures.folder_walk import MOST_LOOKED_AT, walk
from andon.sources.pictures.good_part import good_part
from andon.sources.pictures.header import TruncatedError
from andon.sources.source import Source

_HEADER_BYTES = 65_536

logger = logging.getLogger(__name__)


class Pictures:
    """A collection of picture files; nothing is decoded until it is read.

    Args:
        files: by key.
        channels: what `read` gives; None: 1 where every header says grey, else 3.
    """

    def __init__(self, files: dict[str, PictureFile], *, channels: Channels | None = None) -> None:
        self._files = files
        # without the time of writing: a copy of the data has other times, and must be split and fitted in the same order
        self._refs = tuple(Ref(key=key) for key in files)
        self._channels = channels
        self._found: FoundFrames | None = None
        # pictures that are given one by one share the warnings of the process: none of them is a collection to people
        self._warned = WarnedKinds() if len(files) > 1 else None

    @property
    def found(self) -> FoundFrames:
        """What the pictures are, from their headers alone; unreadable ones do not count.

        Raises:
            DataError: none is readable.
        """
        if self._found is None:
            self._found = _look_at_headers(self._files)
        return self._found

    @property
    def refs(self) -> Sequence[Ref]:
        """All pictures, in natural order of their keys."""
        return self._refs

    def read(self, ref: Ref) -> Item | Lost:
        """One picture, decoded; `Lost` where it is damaged or gone."""
        if self._channels is None:
            self._channels = 1 if self.found.channels == 1 else 3
        return _read(self._files[ref.key], ref, self._channels, self._warned)


def collect(text: str) -> Pictures:
    """Open the good parts to learn from, as `good_part` chooses them.

    Raises:
        DataError: no picture there, or a folder that may hold more than good parts.
    """
    return Pictures(good_part(text, open_listing(Path(text))))


def evaluation_part(text: str, *, channels: Channels | None = None) -> Pictures:
    """The parts to evaluate on: test/ of a tree, else all pictures. Keys are those of `truth.tree_truth`.

    Raises:
        DataError: no picture there, or a tree without a test part.
    """
    files = open_listing(Path(text))
    if layout(files) not in ("tree", "test alone"):
        return Pictures(files, channels=channels)
    tested = {key: file for key, file in files.items() if is_in("test", key)}
    if not tested:
        raise DataError(f"{text}: has train/good but no test/TYPE with pictures, so there is nothing to evaluate on.")
    return Pictures(tested, channels=channels)


def everything(text: str, *, channels: Channels | None = None) -> Pictures:
    """All pictures of a folder, whatever its layout (masks are none), or the one picture.

    Raises:
        DataError: no picture there.
    """
    return Pictures(open_listing(Path(text)), channels=channels)


def chosen(text: str, keys: AbstractSet[str]) -> Pictures:
    """Open the pictures of these keys, whatever else the folder holds; keys that are not there are left out.

    Raises:
        DataError: no picture there.
    """
    return Pictures({key: file for key, file in open_listing(Path(text)).items() if key in keys})


def stream(text: str, spec: InputSpec, settings: FollowSettings, clock: Clock, stop: threading.Event) -> Stream:
    """What is there in natural order, then, where `settings.follow`, what arrives. Nothing is skipped, nothing comes twice.

    Raises:
        DataError: nothing at that path, or (not following) no picture.
        ConfigError: the model file judges windows.
    """
    channels = frame_channels(spec, "a folder of pictures")
    opencv()  # a missing package is said now, not when the first picture arrives
    root = Path(text)
    if not root.is_dir():
        return _each(open_listing(root), (), channels, stop)
    if settings.follow:
        warned = WarnedKinds()
        return follow(root, lambda key, file: _read(file, _ref(key, file), channels, warned), settings, clock, stop)
    try:
        listing = survey(root)
    except OSError:
        listing = Listing({}, {})
    if not listing.files:
        return _each(open_listing(root), (), channels, stop)  # says what is wrong
    unlisted = [unlisted_folder(key, error) for key, error in listing.unlisted.items()]
    return _each(listing.files, unlisted, channels, stop)


def _accepts(text: str) -> bool:
    root = Path(text)
    if root.is_file():
        return is_picture(root.name)
    if not root.is_dir():
        return False
    # a folder without any file may be one in which pictures are going to arrive; one of logs is not ours
    a_file = False
    for entry in walk(root, on_unlisted=lambda *_: None, most=MOST_LOOKED_AT):
        if is_picture(entry.name):
            return True
        a_file = True
    return not a_file


def _endless(text: str, settings: FollowSettings) -> bool:
    return settings.follow and Path(text).is_dir()


def _each(
    files: dict[str, PictureFile], unlisted: Sequence[Lost], channels: Channels, stop: threading.Event
) -> Iterator[Item | Lost]:
    yield from unlisted
    warned = WarnedKinds()
    for key, file in files.items():
        if stop.is_set():
            return
        yield _read(file, _ref(key, file), channels, warned)


def _ref(key: str, file: PictureFile) -> Ref:
    return Ref(key=key, time_s=None if file.fault else file.stamp.mtime_ns / 1e9)


def _read(file: PictureFile, ref: Ref, channels: Channels, warned: WarnedKinds | None) -> Item | Lost:
    if file.fault:  # never opened: a pipe would be waited for, and a device may act on it
        return Lost(ref, Reason.UNREADABLE, f"{printable(ref.key)}: {file.fault}")
    try:
        frame: Frame = decode_file(file.path, channels=channels, name=ref.key, warned=warned)
    except FileNotFoundError:
        return Lost(ref, Reason.LOST, f"{ref.key}: was listed, then gone before it was read")
    except DataError as error:
        return Lost(ref, Reason.UNREADABLE, str(error))
    return Item(ref, frame)


def _look_at_headers(files: dict[str, PictureFile]) -> FoundFrames:
    sizes: Counter[tuple[int, int]] = Counter()
    all_grey = True
    first_error = ""
    for key, file in files.items():
        try:
            height, width, channels = _header_of(file)
        except (DataError, OSError) as error:
            first_error = first_error or f"{key}: {error}"
            continue
        sizes[height, width] += 1
        all_grey = all_grey and channels == 1
    if not sizes:
        raise DataError(f"none of {len(files)} pictures is readable; the first: {first_error}")
    return FoundFrames(
        channels=1 if all_grey else 3,
        frame_size=next(iter(sizes)) if len(sizes) == 1 else None,
        largest=max(sizes, key=lambda size: size[0] * size[1]),
        sizes=tuple(sizes.most_common()) if len(sizes) > 1 else (),
    )


def _header_of(file: PictureFile) -> tuple[int, int, Channels]:
    if file.fault:
        raise DataError(file.fault)
    with file.path.open("rb") as opened:
        beginning = opened.read(_HEADER_BYTES)
        try:
            return header(beginning)
        except TruncatedError:
            # TIFF keeps its directory at the end, and a JPEG may carry a long colour profile first
            return header(beginning + opened.read(MAX_BYTES))


SOURCE = Source(
    name="images",
    summary="a folder of pictures (as it is, and as they arrive), or one picture",
    accepts=_accepts,
    collect=collect,
    settings=FollowSettings,
    stream=stream,
    endless=_endless,
)
