"""Add path prefixes to item keys so that keys are unique across several inputs."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from andon.runtime.schema import InputSpec
from andon.sources.opening import open_for

_WITHIN = re.compile(r"#[0-9]+$")


def key_prefixes(paths: Sequence[str], spec: InputSpec) -> list[str]:
    """Return the prefix for the keys of each path. It is empty for a single path, and if all keys differ without prefixes.

    Otherwise a prefix consists of the last folders of the path. All prefixes have the same number of folders, the smallest
    number that makes all keys different. Folders and sources are opened to list their keys and closed again, so only one log at
    a time is in memory. A path that is given twice names the same items twice.

    Args:
        paths: as for `opening.open_for`.
        spec: the input specification of the model file that will judge the items.

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
    """Return the shortest endings of `folders`, all of the same length, that make all keys different.

    If no length makes all keys different, return the shortest endings that give as many different keys as the whole folders.

    >>> prefixes([["test", "good"], ["test", "chip"]], [["000.png"], ["000.png"]])
    ['good/', 'chip/']
    >>> prefixes([["test", "good"], ["test", "chip"]], [["000.png"], ["001.png"]])
    ['', '']
    """

    def at(depth: int) -> list[str]:
        return ["".join(f"{piece}/" for piece in pieces[max(0, len(pieces) - depth) :]) for pieces in folders]

    def different_keys(before: list[str]) -> int:
        return len({prefix + key for prefix, those in zip(before, keys, strict=True) for key in those})

    deepest = max(map(len, folders))
    items = different_keys(at(deepest))  # a file that is given together with its folder stays one item
    return next(before for depth in range(deepest + 1) if different_keys(before := at(depth)) == items)


def _place(path: str) -> str:
    return os.path.abspath(path) if os.path.exists(path) else path  # noqa: PTH100, PTH110 - links stay apart, texts may be long


def _folders(path: str) -> list[str]:
    """Return the names of all folders on a path, without the name of a file. The name of a source is one element."""
    if not os.path.exists(path):  # noqa: PTH110 - see `_place`
        return [path]
    place = Path(_place(path))
    pieces = (place if place.is_dir() else place.parent).parts[1:]
    # JSON must be able to hold a name that is not UTF-8
    return [piece.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for piece in pieces]


def _keys(path: str, spec: InputSpec) -> set[str]:
    """Return all keys without the numbers of frames and windows: the keys of one file then become equal."""
    if os.path.isfile(path):  # noqa: PTH113 - see `_place`
        return {Path(path).name}
    return {_WITHIN.sub("", ref.key) for ref in open_for(path, spec).refs}
