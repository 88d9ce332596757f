"""Labelled classes as a source: some classes are good, all others are defects.

Both common protocols are supported: ``mnist:normal=0`` (one class is good) and ``mnist:anomaly=5`` (all classes except one are
good). Several classes are joined by ``+``. Training uses only the training pictures of good classes; evaluation uses the whole
test set, in which every picture has a label. `outlier_share` draws defects by the seed until they have the stated share. It
never leaves out a good part. AUPR depends on that share, AUROC does not.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.settings import from_mapping, nearest
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec
from andon.sources.clock import Clock
from andon.sources.collection import Collection, FoundFrames, Stream
from andon.sources.pictures.decode import Channels, frame_channels
from andon.sources.source import Source
from andon.sources.stream_settings import NoSettings
from andon.sources.truth import Truth


class Request(Struct, frozen=True, kw_only=True):
    """The options that may follow the colon of a class set."""

    root: Annotated[str, Meta(min_length=1, description="the folder of the files")] | None = None
    normal: Annotated[str, Meta(min_length=1, description="the good classes, joined by +")] | None = None
    anomaly: Annotated[str, Meta(min_length=1, description="the defective classes; all others are good")] | None = None
    outlier_share: (
        Annotated[
            float, Meta(gt=0.0, lt=1.0, description="share of defects in the test set; default: keep all defects")
        ]
        | None
    ) = None
    seed: Annotated[int, Meta(ge=0, description="seed for drawing the defects")] = 0
    split_seed: Annotated[
        int,
        Meta(
            ge=0,
            description="seed for drawing the test pictures of a folder without its own split; use the same for training and "
            "evaluation",
        ),
    ] = 0
    """Separate from `seed`: a draw of other defects must not move pictures between the training set and the test set."""
    download: Annotated[
        bool,
        Meta(description="download missing files with torchvision into the root, or into the cache without a root"),
    ] = False


class Labelled(Struct, frozen=True):
    """Keys and classes of one part of a set, in a stable order."""

    keys: Sequence[str]
    classes: NDArray[np.integer]
    """``[n]``: indices into `ClassSet.names`."""


class ClassSet(Struct, frozen=True, kw_only=True):
    """A set of labelled pictures with its split."""

    names: tuple[str, ...]
    train: Labelled
    test: Labelled
    open: Callable[[Sequence[str], Channels | None], Collection]
    """A function that opens the pictures with these keys, in this order, with these channels (None: as stored)."""


class ArrayPictures:
    """Pictures of the same size, by key, in memory or in a mapped file."""

    def __init__(
        self, pictures: dict[str, NDArray[np.uint8]], keys: Sequence[str], *, channels: Channels | None = None
    ) -> None:
        """Create the collection from the pictures of each part, uint8 ``[n, H, W, C]``. A key is ``PART/NUMBER``."""
        self._pictures = pictures
        height, width, own = next(iter(pictures.values())).shape[1:]
        self._repeat = 3 if channels == 3 and own == 1 else 1
        self.found = FoundFrames(channels=own * self._repeat, frame_size=(height, width), largest=(height, width))
        self.refs: Sequence[Ref] = tuple(Ref(key=key) for key in keys)

    def read(self, ref: Ref) -> Item | Lost:
        """Return one picture, ``[H, W, C]``."""
        part, _, number = ref.key.partition("/")
        picture = np.array(self._pictures[part][int(number)])
        return Item(ref, picture if self._repeat == 1 else np.repeat(picture, 3, axis=2))


def array_set(
    names: Sequence[str],
    train: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    test: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> ClassSet:
    """Build a set from the pictures, uint8 ``[n, H, W, C]``, and classes, ``[n]``, of a training and a test set.

    Raises:
        DataError: the numbers of pictures and classes differ, or a class has no name.
    """
    parts = {"train": train, "test": test}
    for part, (pictures, classes) in parts.items():
        if len(pictures) != len(classes) or not len(classes) or int(classes.max()) >= len(names):
            raise DataError(
                f"the {part} part: expected one label from 0 to {len(names) - 1} for each picture, got {len(pictures)} pictures "
                f"and {len(classes)} labels up to {int(classes.max(initial=0))}."
            )
    arrays = {part: pictures for part, (pictures, _) in parts.items()}
    labelled = {
        part: Labelled([f"{part}/{number:05}" for number in range(len(classes))], classes)
        for part, (_, classes) in parts.items()
    }
    return ClassSet(
        names=tuple(names),
        train=labelled["train"],
        test=labelled["test"],
        open=lambda keys, channels: ArrayPictures(arrays, keys, channels=channels),
    )


def parse(kind: str, text: str) -> Request:
    """Parse the text after the colon: ``name=value`` pairs, joined by commas.

    A first part without a name is the root. Paths may contain commas.

    Raises:
        ConfigError: a name is unknown, a value is out of bounds, or `normal` and `anomaly` are both given or both missing.

    >>> parse("mnist", "mnist:data/a,b,anomaly=5,outlier_share=0.3").root
    'data/a,b'
    """
    _, _, given = text.partition(":")
    values: dict[str, object] = {}
    for number, piece in enumerate(filter(None, re.split(r",(?=\s*\w+=)", given))):
        name, equals, value = piece.partition("=")
        if not equals or not re.fullmatch(r"\s*\w+\s*", name):
            if number:
                raise ConfigError(f"{text}: expected name=value, got {piece!r}.")
            name, value = "root", piece
        values[name.strip()] = value.strip()
    request = from_mapping(
        Request, {name: _value(name, str(value), text) for name, value in values.items()}, where=kind
    )
    if (request.normal is None) == (request.anomaly is None):
        raise ConfigError(
            f"{text}: expected either the good classes ({kind}:normal=CLASS) or the defective ones ({kind}:anomaly=CLASS), got "
            f"{'neither' if request.normal is None else 'both'}."
        )
    return request


def good_keys(class_set: ClassSet, request: Request) -> list[str]:
    """Return the keys of the training pictures of the good classes.

    Raises:
        ConfigError: there is no such class.
        DataError: no good class has a training picture.
    """
    good = _good(class_set, request)
    keys = [
        key for key, place in zip(class_set.train.keys, class_set.train.classes.tolist(), strict=True) if place in good
    ]
    if not keys:
        good_names = ", ".join(class_set.names[place] for place in sorted(good))
        raise DataError(f"expected training pictures of the good classes, found no training picture of {good_names}.")
    return keys


def evaluated(class_set: ClassSet, request: Request) -> tuple[list[str], Truth]:
    """Return the keys to evaluate on, in order, and the truth about them and about the good training pictures.

    Raises:
        ConfigError: there is no such class, or the set has too few defects for the requested share.
    """
    good = _good(class_set, request)
    classes = class_set.test.classes
    defective = ~np.isin(classes, sorted(good))
    kept = ~defective | _drawn(defective, request)
    keys = [class_set.test.keys[place] for place in np.flatnonzero(kept).tolist()]
    truth = dict.fromkeys(good_keys(class_set, request), False)
    truth |= {key: bool(bad) for key, bad in zip(keys, defective[kept].tolist(), strict=True)}
    kinds = {
        key: class_set.names[place]
        for key, place in zip(keys, classes[kept].tolist(), strict=True)
        if place not in good
    }
    return keys, Truth(defective=truth, kind=kinds)


def class_source(name: str, summary: str, open_set: Callable[[Request], ClassSet]) -> Source:
    """Return a source ``NAME:normal=CLASS,root=PATH`` for a set that `open_set` opens."""

    def collect(text: str) -> Collection:
        request = parse(name, text)
        class_set = open_set(request)
        return class_set.open(good_keys(class_set, request), None)

    def labelled(text: str, channels: Channels | None = None) -> tuple[Collection, Truth]:
        request = parse(name, text)
        class_set = open_set(request)
        keys, truth = evaluated(class_set, request)
        return class_set.open(keys, channels), truth

    def stream(text: str, spec: InputSpec, _settings: NoSettings, _clock: Clock, stop: threading.Event) -> Stream:
        pictures, _ = labelled(text, frame_channels(spec, f"a {name} source"))
        return _each(pictures, stop)

    def shown(text: str) -> str:
        # texts that other people read must not show the folders of this machine
        request = parse(name, text)
        given = [f"{key}={value}" for key, value in _differing(request) if key not in ("root", "download")]
        folder = Path(request.root or "").resolve().name if request.root and name == "classes" else ""
        return f"{name}:{','.join(filter(None, [folder, *given]))}"

    return Source(
        name=name,
        summary=summary,
        accepts=lambda text: text == name or text.startswith(f"{name}:"),
        collect=collect,
        stream=stream,
        labelled=labelled,
        shown=shown,
    )


def digest_of(path: Path) -> str:
    """Return the MD5 of a file, as the publishers of these sets state it. It detects damage, but no attack."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _each(pictures: Collection, stop: threading.Event) -> Iterator[Item | Lost]:
    for ref in pictures.refs:
        if stop.is_set():
            return
        yield pictures.read(ref)


def _differing(request: Request) -> list[tuple[str, object]]:
    default = Request()
    return [(name, value) for name, value in msgspec.structs.asdict(request).items() if value != getattr(default, name)]


def _value(name: str, value: str, text: str) -> object:
    if name not in ("outlier_share", "seed", "split_seed", "download"):
        return value
    try:
        return msgspec.json.decode(value, type=bool if name == "download" else int | float)
    except msgspec.MsgspecError as error:
        wanted = "true or false" if name == "download" else "a number"
        raise ConfigError(f"{text}: expected {wanted} for {name!r}, got {value!r}.") from error


def _good(class_set: ClassSet, request: Request) -> set[int]:
    every = set(range(len(class_set.names)))
    named = {_place(name.strip(), class_set.names) for name in (request.normal or request.anomaly or "").split("+")}
    good = named if request.normal is not None else every - named
    if not good or good == every:
        got = "good" if good else "defective"
        raise ConfigError(
            f"expected good and defective classes among {', '.join(class_set.names)}, got only {got} ones. Name fewer classes."
        )
    return good


def _place(name: str, names: Sequence[str]) -> int:
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise ConfigError(f"expected a class name ({', '.join(names)}) or its number, got {name!r}{nearest(name, names)}.")


def _drawn(defective: NDArray[np.bool_], request: Request) -> NDArray[np.bool_]:
    """Draw the defects to evaluate on; returns a mask ``[n]``."""
    if request.outlier_share is None:
        return defective
    available, good = int(defective.sum()), int((~defective).sum())
    wanted = round(good * request.outlier_share / (1 - request.outlier_share))
    if not 1 <= wanted <= available:
        raise ConfigError(
            f"outlier_share: {request.outlier_share:g} needs {wanted} defects for {good} good parts, but the set has "
            f"{available}. Give a share from {1 / (1 + good):.2g} to {available / (available + good):.2g}."
        )
    drawn = np.zeros(len(defective), dtype=bool)
    drawn[np.random.default_rng(request.seed).choice(np.flatnonzero(defective), wanted, replace=False)] = True
    return drawn
