"""Pictures in a folder: a collection for training and scoring, or a stream of the pictures as they arrive."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock
from andon.sources.collection import FoundFrames, Stream
from andon.sources.live.folder_follow import follow, unlisted_folder
from andon.sources.live.folder_watch import FollowSettings
from andon.sources.opencv import opencv
from andon.sources.pictures.decode import Channels, WarnedKinds, decode_file, frame_channels, header
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
from andon.sources.pictures.header import PictureHeader, TruncatedError
from andon.sources.pictures.limits import MAX_BYTES
from andon.sources.source import Skip, Source

_HEADER_BYTES = 65_536

logger = logging.getLogger(__name__)


class Pictures:
    """A collection of picture files. A picture is decoded when it is read.

    Args:
        files: picture files by key.
        channels: the channels of the frames. Default: 1 if every header states grey, else 3.
    """

    def __init__(self, files: dict[str, PictureFile], *, channels: Channels | None = None) -> None:
        self._files = files
        # without file times: a copy of the data has other times, but the same order for splitting and training
        self._refs = tuple(Ref(key=key) for key in files)
        self._channels = channels
        self._found: FoundFrames | None = None
        # single pictures share the warnings of the process, because users do not see each of them as a collection
        self._warned = WarnedKinds() if len(files) > 1 else None

    @property
    def found(self) -> FoundFrames:
        """A description of the pictures, from their headers alone. Unreadable pictures are ignored.

        Raises:
            DataError: no picture is readable, or some pictures have 8 bits per channel and others more.
        """
        if self._found is None:
            self._found = _look_at_headers(self._files)
        return self._found

    @property
    def refs(self) -> Sequence[Ref]:
        """All pictures, in natural order of their keys."""
        return self._refs

    def of_size(self, size: tuple[int, int]) -> "tuple[Pictures, tuple[str, ...]]":
        """Return the pictures of this size (height, width), and the keys of the others. Unreadable pictures are kept."""
        others = tuple(key for key, file in self._files.items() if _size_of(file) not in (size, None))
        left_out = set(others)
        kept = {key: file for key, file in self._files.items() if key not in left_out}
        return Pictures(kept, channels=self._channels), others

    def read(self, ref: Ref) -> Item | Lost:
        """Return one picture, decoded, or `Lost` if it is damaged or no longer exists."""
        if self._channels is None:
            self._channels = 1 if self.found.channels == 1 else 3
        return _read(self._files[ref.key], ref, self._channels, self._warned)


def collect(text: str) -> Pictures:
    """Open the good parts to train on, as chosen by `good_part`.

    Raises:
        DataError: there is no picture, or the folder may contain more than good parts.
    """
    return Pictures(good_part(text, open_listing(Path(text))))


def evaluation_part(text: str, *, channels: Channels | None = None) -> Pictures:
    """Open the parts to evaluate on: test/ of a tree, otherwise all pictures. The keys are the same as in `truth.tree_truth`.

    Raises:
        DataError: there is no picture, or the tree has no test set.
    """
    files = open_listing(Path(text))
    if layout(files) not in ("tree", "test alone"):
        return Pictures(files, channels=channels)
    tested = {key: file for key, file in files.items() if is_in("test", key)}
    if not tested:
        raise DataError(
            f"{text}: expected test/TYPE with pictures to evaluate on, found train/good only. Add test/good and test/TYPE."
        )
    return Pictures(tested, channels=channels)


def everything(text: str, *, channels: Channels | None = None) -> Pictures:
    """Open all pictures of a folder of any layout, without masks, or a single picture.

    Raises:
        DataError: there is no picture.
    """
    return Pictures(open_listing(Path(text)), channels=channels)


def chosen(text: str, keys: AbstractSet[str]) -> Pictures:
    """Open only the pictures with these keys. Keys that do not exist are ignored.

    Raises:
        DataError: there is no picture in the folder.
    """
    return Pictures({key: file for key, file in open_listing(Path(text)).items() if key in keys})


def stream(  # noqa: PLR0917 - the signature of `Source.resumed`
    text: str,
    spec: InputSpec,
    settings: FollowSettings,
    clock: Clock,
    stop: threading.Event,
    skip: Skip = lambda _ref: False,
) -> Stream:
    """Yield the existing pictures in natural order, then new ones if `settings.follow` is set. Each is yielded once.

    Pictures for which `skip` returns True are not read.

    Raises:
        DataError: the path does not exist, or (without following) there is no picture.
        ConfigError: the model file judges windows.
    """
    channels = frame_channels(spec, "a folder of pictures", deep=True)
    opencv()  # report a missing package now, not when the first picture arrives
    root = Path(text)
    if not root.is_dir():
        return _each(open_listing(root), (), channels, stop, skip)
    if settings.follow:
        warned = WarnedKinds()

        def read(key: str, file: PictureFile) -> Item | Lost:
            return _read(file, _ref(key, file), channels, warned)

        return follow(
            root, read, settings, clock, stop, skip=lambda key, file: not file.fault and skip(_ref(key, file))
        )
    try:
        listing = survey(root)
    except OSError:
        listing = Listing({}, {})
    if not listing.files:
        return _each(open_listing(root), (), channels, stop, skip)  # raises an error with the reason
    unlisted = [unlisted_folder(key, error) for key, error in listing.unlisted.items()]
    return _each(listing.files, unlisted, channels, stop, skip)


def _accepts(text: str) -> bool:
    root = Path(text)
    if root.is_file():
        return is_picture(root.name)
    if not root.is_dir():
        return False
    # pictures may still arrive in a folder without any file; a folder with other files, such as logs, is not accepted
    other_file = False
    for entry in walk(root, on_unlisted=lambda *_: None, most=MOST_LOOKED_AT):
        if is_picture(entry.name):
            return True
        other_file = True
    return not other_file


def _endless(text: str, settings: FollowSettings) -> bool:
    return settings.follow and Path(text).is_dir()


def _each(
    files: dict[str, PictureFile], unlisted: Sequence[Lost], channels: Channels, stop: threading.Event, skip: Skip
) -> Iterator[Item | Lost]:
    yield from unlisted
    warned = WarnedKinds()
    for key, file in files.items():
        if stop.is_set():
            return
        if not skip(_ref(key, file)):
            yield _read(file, _ref(key, file), channels, warned)


def _ref(key: str, file: PictureFile) -> Ref:
    return Ref(key=key, time_s=None if file.fault else file.stamp.mtime_ns / 1e9)


def _read(file: PictureFile, ref: Ref, channels: Channels, warned: WarnedKinds | None) -> Item | Lost:
    if file.fault:  # never open it: a pipe would block, and a device may react to it
        return Lost(ref, Reason.UNREADABLE, f"{printable(ref.key)}: {file.fault}")
    try:
        frame = decode_file(file.path, channels=channels, name=ref.key, warned=warned)
    except FileNotFoundError:
        return Lost(ref, Reason.LOST, f"{ref.key}: removed after it was listed and before it was read")
    except DataError as error:
        return Lost(ref, Reason.UNREADABLE, str(error))
    return Item(ref, frame)


def _look_at_headers(files: dict[str, PictureFile]) -> FoundFrames:
    sizes: Counter[tuple[int, int]] = Counter()
    all_grey = True
    of_type: dict[Literal["uint8", "uint16"], list[str]] = {}
    first_error = ""
    for key, file in files.items():
        try:
            found = _header_of(file)
        except (DataError, OSError) as error:
            first_error = first_error or f"{key}: {error}"
            continue
        sizes[found.height, found.width] += 1
        all_grey = all_grey and found.channels == 1
        of_type.setdefault(found.dtype, []).append(key)
    if not sizes:
        raise DataError(
            f"expected at least one readable picture among {len(files)}, found none. The first error: {first_error}"
        )
    if len(of_type) > 1:
        deep, shallow = of_type["uint16"], of_type["uint8"]
        raise DataError(
            f"bits per channel: expected the same in all {sum(sizes.values())} pictures, got 8 in {len(shallow)} of them, such "
            f"as {printable(shallow[0])}, and more in {len(deep)}, such as {printable(deep[0])}. Their levels cannot be "
            "compared. Move one kind into another folder."
        )
    return FoundFrames(
        channels=1 if all_grey else 3,
        frame_size=next(iter(sizes)) if len(sizes) == 1 else None,
        largest=max(sizes, key=lambda size: size[0] * size[1]),
        sizes=tuple(sizes.most_common()) if len(sizes) > 1 else (),
        dtype=next(iter(of_type)),
    )


def _size_of(file: PictureFile) -> tuple[int, int] | None:
    try:
        found = _header_of(file)
    except (DataError, OSError):
        return None
    return found.height, found.width


def _header_of(file: PictureFile) -> PictureHeader:
    if file.fault:
        raise DataError(file.fault)
    with file.path.open("rb") as opened:
        beginning = opened.read(_HEADER_BYTES)
        try:
            return header(beginning)
        except TruncatedError:
            # TIFF has its directory at the end, and a JPEG may begin with a long colour profile
            return header(beginning + opened.read(MAX_BYTES))


SOURCE = Source(
    name="images",
    summary="a folder of pictures (existing ones, then new ones as they arrive), or one picture",
    accepts=_accepts,
    collect=collect,
    settings=FollowSettings,
    stream=stream,
    resumed=stream,
    endless=_endless,
)
