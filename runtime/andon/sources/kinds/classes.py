"""A folder with one sub-folder per class: ``classes:PATH,normal=a``. Some classes are good, the others are defects.

If the folder has ``train/CLASS`` and ``test/CLASS``, these are the split. Otherwise 30 % of the pictures of each class, drawn by
`split_seed`, are for testing and the others for training. A test picture is never used for training.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from andon.foundation.errors import ConfigError, DataError
from andon.sources.kinds.images import Pictures
from andon.sources.labelled.class_set import ClassSet, Labelled, Request, class_source
from andon.sources.pictures.folder import open_listing

TESTED = 0.3
"""Share of the pictures of each class that are for testing, if the folder has no split."""


def open_folder(request: Request) -> ClassSet:
    """Open the classes below `request.root`.

    Raises:
        ConfigError: the request has no root.
        DataError: there are no pictures, or fewer than two classes.
    """
    if request.root is None:
        raise ConfigError(
            "classes: expected a folder with one sub-folder per class, got none. Use classes:PATH,normal=CLASS."
        )
    files = open_listing(Path(request.root))
    folders = {key: key.split("/")[:-1] for key in files}
    split = all(len(place) > 1 and place[0] in ("train", "test") for place in folders.values())
    by_class: dict[str, list[str]] = {}
    for key, place in folders.items():
        if place:
            by_class.setdefault(place[1 if split else 0], []).append(key)
    names = tuple(sorted(by_class))
    if len(names) < 2:
        raise DataError(
            f"{request.root}: expected at least two classes, each with a sub-folder of pictures, or train/CLASS and "
            f"test/CLASS; found {', '.join(names) or 'none'}."
        )
    if split:
        held_out = {key for key, place in folders.items() if place[0] == "test"}
    else:
        generator = np.random.default_rng(request.split_seed)
        held_out = {key for name in names for key in _drawn(by_class[name], generator)}
    return ClassSet(
        names=names,
        train=_labelled(by_class, names, lambda key: key not in held_out),
        test=_labelled(by_class, names, lambda key: key in held_out),
        open=lambda keys, channels: Pictures({key: files[key] for key in keys}, channels=channels),
    )


def _drawn(keys: Sequence[str], generator: np.random.Generator) -> list[str]:
    count = max(1, round(TESTED * len(keys)))
    return [keys[place] for place in generator.permutation(len(keys))[:count]]


def _labelled(by_class: Mapping[str, Sequence[str]], names: Sequence[str], wanted: Callable[[str], bool]) -> Labelled:
    pairs = [(key, place) for place, name in enumerate(names) for key in by_class[name] if wanted(key)]
    return Labelled([key for key, _ in pairs], np.array([place for _, place in pairs], np.int64))


SOURCE = class_source(
    "classes", "a folder with one sub-folder per class, with the good classes given: classes:PATH,normal=a", open_folder
)
