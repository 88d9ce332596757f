"""The truth about items: labels, types of defect and masks, by key.

Only evaluation joins the truth with the items, so training cannot see it.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.foundation.settings import nearest
from andon.sources.pictures.decode import decode_file
from andon.sources.pictures.folder import is_good, is_picture, layout, open_listing
from andon.sources.pictures.folder_walk import MASKS, walk
from andon.sources.series.tables import read_table


class Truth(Struct, frozen=True, kw_only=True):
    """Labels, types of defect and masks. Keys are the keys of the collection's refs; a missing key has no known label."""

    defective: dict[str, bool]
    kind: dict[str, str]
    """Type of defect of each defective key; ``defect`` if the data name no type."""
    masks: Mapping[str, Path | Callable[[], NDArray[np.bool_]]] = {}
    """Mask files, or functions that return a mask, for the keys that have one; see `mask`."""

    def mask(self, key: str) -> NDArray[np.bool_] | None:
        """Return the defective pixels of a picture, ``[H, W]``; None if there is no mask. Good parts need none.

        A mask may be empty although its part is defective: some data sets contain a few such masks.

        Raises:
            DataError: the mask cannot be read.
        """
        path = self.masks.get(key)
        if path is None or callable(path):
            return path() if path else None
        levels = decode_file(path).max(axis=2)
        # most masks contain 0 and 255, label images 0 and 1; masks saved as JPEG need a threshold at half of the range
        half = 127 if levels.dtype == np.uint8 else 32767
        marked: NDArray[np.bool_] = levels > (0 if levels.max(initial=0) <= 1 else half)
        return marked


def tree_truth(root: Path) -> Truth:
    """Read the truth from the names of folders.

    Two layouts are supported: ``train/good`` and ``test/TYPE`` with masks in ``ground_truth/TYPE``, or ``good/`` and ``TYPE/``.
    Keys are those of `images.collect`, `images.evaluation_part` and `images.everything` on the same path. A mask is named
    ``STEM_mask`` or ``STEM`` and may have any picture suffix.

    Raises:
        DataError: the folder has neither layout.
    """
    files = open_listing(root)
    shape = layout(files)
    if shape == "plain":
        raise DataError(
            f"{root}: expected test/good and test/TYPE, or good/ and a folder for each type of defect; found neither. "
            "Or give a table with columns key,label."
        )
    tree = shape in ("tree", "test alone")
    defective, kinds, masks = {}, {}, {}
    mask_files = _mask_files(root)
    for key in files:
        folders = key.split("/")[:-1]
        place = folders[1:2] if tree else folders[0:1]
        if not place or (tree and folders[0].casefold() not in ("train", "test")):
            continue
        defective[key] = not is_good(place[0])
        if defective[key]:
            kinds[key] = place[0]
            stem = key.split("/", 1)[1] if tree else key
            found = mask_files.get(stem.rpartition(".")[0])
            if found is not None:
                masks[key] = found
    return Truth(defective=defective, kind=kinds, masks=masks)


def tree_masks(root: Path, keys: Iterable[str]) -> dict[str, Path]:
    """Return the masks for these keys from the folder ``ground_truth`` in `root`, or next to `root` if that is ``test``."""
    if not root.is_dir():
        return {}
    files = _mask_files(root)
    return {key: files[stem] for key in keys if (stem := _mask_stem(key, files)) in files}


def table_truth(path: Path) -> Truth:
    """Read the truth from a CSV file with the columns ``key,label`` and optionally ``kind``.

    Labels of good parts are good, ok, normal, false and 0. Labels of defective parts are defect, defective, anomaly, anomalous,
    bad, ng, nok, true and 1. Upper and lower case are the same.

    Raises:
        DataError: the file cannot be read, a column is missing, a label is unknown, or a key has two labels. The message
            contains the line number.
    """
    defective: dict[str, bool] = {}
    kinds: dict[str, str] = {}
    for line, row in read_table(path, ("key", "label")):
        key, label = row["key"], row["label"].lower()
        if label not in _LABELS:
            hint = nearest(label, _LABELS)
            raise DataError(f"{path}, line {line}: expected good or defect as the label, got {row['label']!r}{hint}")
        if defective.setdefault(key, _LABELS[label]) != _LABELS[label]:
            raise DataError(
                f"{path}, line {line}: expected one label for each key, got a second, different one for {key!r}."
            )
        if _LABELS[label]:
            kinds[key] = row.get("kind") or "defect"
    return Truth(defective=defective, kind=kinds)


def _mask_stem(key: str, files: Mapping[str, Path]) -> str:
    """Return ``TYPE/STEM``: the key without its suffix, and without ``test/`` at its beginning."""
    whole = key.rpartition(".")[0]
    return whole if whole in files else whole.removeprefix("test/")


_LABELS = {
    **dict.fromkeys(("good", "ok", "normal", "false", "0"), False),
    **dict.fromkeys(("defect", "defective", "anomaly", "anomalous", "bad", "ng", "nok", "true", "1"), True),
}


def _mask_files(root: Path) -> dict[str, Path]:
    """Return the mask files by ``TYPE/STEM``."""
    # the user may also give the test folder itself
    folder = next((place / MASKS for place in (root, root.parent) if (place / MASKS).is_dir()), None)
    if folder is None or (folder.parent != root and root.name != "test"):
        return {}
    found = {}
    for path in sorted(Path(entry.path) for entry in walk(folder, on_unlisted=lambda *_: None)):
        if is_picture(path.name):
            relative = path.relative_to(folder).with_suffix("").as_posix()
            found[relative.removesuffix("_mask")] = path
    return found
