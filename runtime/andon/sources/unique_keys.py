"""Keys over several paths: what goes before the items of each, so that no two of them bear one key."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from andon.runtime.schema import InputSpec
from andon.sources.opening import open_for

_WITHIN = re.compile(r"#[0-9]+$")


def key_prefixes(paths: Sequence[str], spec: InputSpec) -> list[str]:
    """What stands before the keys of each path: nothing for one path, or where all keys differ as they are.

    Else so many folders, the same number for each path, as tell all items apart. Folders and names of sources are opened to
    know their keys, and closed again: of several logs one at a time is held in memory. A path that stands twice names the same
    items twice.

    Args:
        paths: as `opening.open_for` takes them.
        spec: of the model file that will judge the items.

    Raises:
        DataError, ConfigError: as `open_for`.
    """
    places = {_place(path): path for path in paths}
    if len(places) == 1:
        return [""] * len(paths)
    found = prefixes([_folders(path) for path in places], [_keys(path, spec) for path in places])
    before = dict(zip(places, found, strict=True))
    return [before[_place(path)] for path in paths]


def prefixes(folders: Sequence[Sequence[str]], keys: Sequence[Collection[str]]) -> list[str]:
    """The shortest last pieces of `folders`, as many of each, that make all keys differ; as they are where none do.

    >>> prefixes([["test", "good"], ["test", "chip"]], [["000.png"], ["000.png"]])
    ['good/', 'chip/']
    >>> prefixes([["test", "good"], ["test", "chip"]], [["000.png"], ["001.png"]])
    ['', '']
    """

    def at(depth: int) -> list[str]:
        return ["".join(f"{piece}/" for piece in pieces[max(0, len(pieces) - depth) :]) for pieces in folders]

    def told_apart(before: list[str]) -> int:
        return len({prefix + key for prefix, those in zip(before, keys, strict=True) for key in those})

    deepest = max(map(len, folders))
    items = told_apart(at(deepest))  # a file that is given beside its folder stays one item
    return next(before for depth in range(deepest + 1) if told_apart(before := at(depth)) == items)


def _place(path: str) -> str:
    return os.path.abspath(path) if os.path.exists(path) else path  # noqa: PTH100, PTH110 - links stay apart, texts may be long


def _folders(path: str) -> list[str]:
    """Of a file those above it, of a folder itself too; a source's name is one piece."""
    if not os.path.exists(path):  # noqa: PTH110 - see `_place`
        return [path]
    place = Path(_place(path))
    pieces = (place if place.is_dir() else place.parent).parts[1:]
    # a name that is not UTF-8 must still fit into JSON
    return [piece.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for piece in pieces]


def _keys(path: str, spec: InputSpec) -> set[str]:
    """All keys, without the numbers of frames and windows: those of one file all begin with its name."""
    if os.path.isfile(path):  # noqa: PTH113 - see `_place`
        return {Path(path).name}
    return {_WITHIN.sub("", ref.key) for ref in open_for(path, spec).refs}
