"""Labelled classes as a source: some of them are good, all others defects, and every picture of the test part has its truth.

The two protocols of the field are two words: ``mnist:normal=0`` (one class is good) and ``mnist:anomaly=5`` (all but one are).
Several classes are joined by ``+``. Only training pictures of good classes can be learnt from; evaluation is on the whole
test part. `outlier_share` draws defects by the seed until their share is as stated, and never leaves out a good part: AUPR
depends on that share, AUROC does not.
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
    """What may follow the colon of a class set."""

    root: Annotated[str, Meta(min_length=1, description="the folder of the files")] | None = None
    normal: Annotated[str, Meta(min_length=1, description="the good classes, joined by +")] | None = None
    anomaly: Annotated[str, Meta(min_length=1, description="the defective classes; all others are good")] | None = None
    outlier_share: (
        Annotated[float, Meta(gt=0.0, lt=1.0, description="of defects in the test part; not given: all of them")] | None
    ) = None
    seed: Annotated[int, Meta(ge=0, description="draws the defects")] = 0
    split_seed: Annotated[
        int,
        Meta(ge=0, description="draws what is tested where no split is given; the same for training and evaluation"),
    ] = 0
    """Apart from `seed`: other defects must not make parts that were learnt from parts to test on."""
    download: Annotated[
        bool, Meta(description="fetch what is missing, by torchvision, into the root or, without one, the cache")
    ] = False


class Labelled(Struct, frozen=True):
    """Keys and classes of one part of a set, in a stable order."""

    keys: Sequence[str]
    classes: NDArray[np.integer]
    """``[n]``: places in `ClassSet.names`."""


class ClassSet(Struct, frozen=True, kw_only=True):
    """A set of labelled pictures with its split."""

    names: tuple[str, ...]
    train: Labelled
    test: Labelled
    open: Callable[[Sequence[str], Channels | None], Collection]
    """Pictures by key, in that order; channels as the model file wants them, None: as they are."""


class ArrayPictures:
    """Pictures of one size that lie in memory or in a mapped file, by key."""

    def __init__(
        self, pictures: dict[str, NDArray[np.uint8]], keys: Sequence[str], *, channels: Channels | None = None
    ) -> None:
        """Take uint8 ``[n, H, W, C]`` by part; a key is ``PART/NUMBER``."""
        self._pictures = pictures
        height, width, own = next(iter(pictures.values())).shape[1:]
        self._repeat = 3 if channels == 3 and own == 1 else 1
        self.found = FoundFrames(channels=own * self._repeat, frame_size=(height, width), largest=(height, width))
        self.refs: Sequence[Ref] = tuple(Ref(key=key) for key in keys)

    def read(self, ref: Ref) -> Item | Lost:
        """One picture, ``[H, W, C]``."""
        part, _, number = ref.key.partition("/")
        picture = np.array(self._pictures[part][int(number)])
        return Item(ref, picture if self._repeat == 1 else np.repeat(picture, 3, axis=2))


def array_set(
    names: Sequence[str],
    train: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    test: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> ClassSet:
    """A set from pictures, uint8 ``[n, H, W, C]``, and classes, ``[n]``, of two parts.

    Raises:
        DataError: pictures and classes of different number, or a class without a name.
    """
    parts = {"train": train, "test": test}
    for part, (pictures, classes) in parts.items():
        if len(pictures) != len(classes) or not len(classes) or int(classes.max()) >= len(names):
            raise DataError(
                f"the {part} part: expected as many labels as pictures, 0 to {len(names) - 1}; got {len(pictures)} pictures "
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
    """What stands behind the colon: ``name=value`` pairs; a first piece without a name is the root. Paths may hold commas.

    Raises:
        ConfigError: an unknown name, a value out of bounds, or neither or both of `normal` and `anomaly`.

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
            f"{text}: expected which classes are good, {kind}:normal=CLASS, or which are not, {kind}:anomaly=CLASS; got "
            f"{'neither' if request.normal is None else 'both'}."
        )
    return request


def good_keys(chosen: ClassSet, request: Request) -> list[str]:
    """The training pictures of the good classes.

    Raises:
        ConfigError: no such class.
        DataError: none of them has a picture.
    """
    good = _good(chosen, request)
    keys = [key for key, place in zip(chosen.train.keys, chosen.train.classes.tolist(), strict=True) if place in good]
    if not keys:
        raise DataError(f"there is no training picture of {', '.join(chosen.names[place] for place in sorted(good))}.")
    return keys


def evaluated(chosen: ClassSet, request: Request) -> tuple[list[str], Truth]:
    """What is evaluated on, in order, and what is true of it; and of the training pictures of good classes too.

    Raises:
        ConfigError: no such class, or fewer defects than the share asks for.
    """
    good = _good(chosen, request)
    classes = chosen.test.classes
    defective = ~np.isin(classes, sorted(good))
    kept = ~defective | _drawn(defective, request)
    keys = [chosen.test.keys[place] for place in np.flatnonzero(kept).tolist()]
    truth = dict.fromkeys(good_keys(chosen, request), False)
    truth |= {key: bool(bad) for key, bad in zip(keys, defective[kept].tolist(), strict=True)}
    kinds = {
        key: chosen.names[place] for key, place in zip(keys, classes[kept].tolist(), strict=True) if place not in good
    }
    return keys, Truth(defective=truth, kind=kinds)


def class_source(name: str, summary: str, open_set: Callable[[Request], ClassSet]) -> Source:
    """A source ``NAME:normal=CLASS,root=PATH`` over a set that `open_set` opens."""

    def collect(text: str) -> Collection:
        request = parse(name, text)
        chosen = open_set(request)
        return chosen.open(good_keys(chosen, request), None)

    def labelled(text: str, channels: Channels | None = None) -> tuple[Collection, Truth]:
        request = parse(name, text)
        chosen = open_set(request)
        keys, truth = evaluated(chosen, request)
        return chosen.open(keys, channels), truth

    def stream(text: str, spec: InputSpec, _settings: NoSettings, _clock: Clock, stop: threading.Event) -> Stream:
        pictures, _ = labelled(text, frame_channels(spec, f"a {name} source"))
        return _each(pictures, stop)

    def shown(text: str) -> str:
        # what is read by others need not tell how this machine is laid out
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
    """MD5 of a file, as the publishers of these sets state it; against damage, not against malice."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _each(pictures: Collection, stop: threading.Event) -> Iterator[Item | Lost]:
    for ref in pictures.refs:
        if stop.is_set():
            return
        yield pictures.read(ref)


def _differing(request: Request) -> list[tuple[str, object]]:
    usual = Request()
    return [(name, value) for name, value in msgspec.structs.asdict(request).items() if value != getattr(usual, name)]


def _value(name: str, value: str, text: str) -> object:
    if name not in ("outlier_share", "seed", "split_seed", "download"):
        return value
    try:
        return msgspec.json.decode(value, type=bool if name == "download" else int | float)
    except msgspec.MsgspecError as error:
        wanted = "true or false" if name == "download" else "a number"
        raise ConfigError(f"{text}: expected {wanted} for {name!r}, got {value!r}.") from error


def _good(chosen: ClassSet, request: Request) -> set[int]:
    every = set(range(len(chosen.names)))
    named = {_place(name.strip(), chosen.names) for name in (request.normal or request.anomaly or "").split("+")}
    good = named if request.normal is not None else every - named
    if not good or good == every:
        raise ConfigError(f"expected good classes and others among {', '.join(chosen.names)}; got all of them as one.")
    return good


def _place(name: str, names: Sequence[str]) -> int:
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise ConfigError(f"there is no class {name!r}{nearest(name, names)}. Known: {', '.join(names)}, or by number.")


def _drawn(defective: NDArray[np.bool_], request: Request) -> NDArray[np.bool_]:
    """Which defects are taken, ``[n]``."""
    if request.outlier_share is None:
        return defective
    there, good = int(defective.sum()), int((~defective).sum())
    wanted = round(good * request.outlier_share / (1 - request.outlier_share))
    if not 1 <= wanted <= there:
        raise ConfigError(
            f"outlier_share={request.outlier_share:g} asks for {wanted} defects beside {good} good parts, and there are "
            f"1 to {there}: give {1 / (1 + good):.2g} to {there / (there + good):.2g}."
        )
    drawn = np.zeros(len(defective), dtype=bool)
    drawn[np.random.default_rng(request.seed).choice(np.flatnonzero(defective), wanted, replace=False)] = True
    return drawn
