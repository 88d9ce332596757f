"""What is known about items beside the items: joined by key in evaluation, out of reach of whatever learns."""

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
    """Which items are defective, how, and where. Keys are those of the collection's refs; a key not here is unknown."""

    defective: dict[str, bool]
    kind: dict[str, str]
    """Type of defect, for defective keys; ``defect`` where nobody named one."""
    masks: Mapping[str, Path | Callable[[], NDArray[np.bool_]]] = {}
    """Mask files, or what makes a mask, where there are any; see `mask`."""

    def mask(self, key: str) -> NDArray[np.bool_] | None:
        """Defective pixels, ``[H, W]`` of the picture; None where no mask is known (good parts have none, and need none).

        A mask may be empty although its part is defective: some data sets mark nothing on a few.

        Raises:
            DataError: the mask cannot be read.
        """
        path = self.masks.get(key)
        if path is None or callable(path):
            return path() if path else None
        levels = decode_file(path).max(axis=2)
        # 0 and 255 as a rule; 0 and 1 from those who write labels; half of the range for masks saved as JPEG
        marked: NDArray[np.bool_] = levels > (0 if levels.max(initial=0) <= 1 else 127)
        return marked


def tree_truth(root: Path) -> Truth:
    """Read the truth from folders: ``train/good``, ``test/TYPE`` and masks in ``ground_truth/TYPE``; or ``good/`` and ``TYPE/``.

    Keys are those of `images.collect`, `images.evaluation_part` and `images.everything` on the same path. A mask is
    ``STEM_mask`` or ``STEM`` with any suffix of a picture.

    Raises:
        DataError: neither layout is there.
    """
    files = open_listing(root)
    shape = layout(files)
    if shape == "plain":
        raise DataError(
            f"{root}: expected test/good and test/TYPE, or good/ and a folder for each type of defect; "
            "or give a table with columns key,label."
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
    """The masks in ``ground_truth`` of a tree (or beside the folder ``test``) for these keys, whoever labelled them."""
    if not root.is_dir():
        return {}
    files = _mask_files(root)
    return {key: files[stem] for key in keys if (stem := _mask_stem(key, files)) in files}


def table_truth(path: Path) -> Truth:
    """Truth from a CSV file with the columns ``key,label`` and, if wanted, ``kind``.

    Labels: good, ok, normal, false, 0, or defect, defective, anomaly, anomalous, bad, ng, nok, true, 1, in either case.

    Raises:
        DataError: not readable, a column is missing, an unknown label, or two labels for one key; with the line's number.
    """
    defective: dict[str, bool] = {}
    kinds: dict[str, str] = {}
    for line, row in read_table(path, ("key", "label")):
        key, label = row["key"], row["label"].lower()
        if label not in _LABELS:
            hint = nearest(label, _LABELS)
            raise DataError(f"{path}, line {line}: expected good or defect as the label, got {row['label']!r}{hint}")
        if defective.setdefault(key, _LABELS[label]) != _LABELS[label]:
            raise DataError(f"{path}, line {line}: {key!r} has had the other label before; one key, one label.")
        if _LABELS[label]:
            kinds[key] = row.get("kind") or "defect"
    return Truth(defective=defective, kind=kinds)


def _mask_stem(key: str, files: Mapping[str, Path]) -> str:
    """``TYPE/STEM``: the key without its suffix, and without its ``test/`` where it has one."""
    whole = key.rpartition(".")[0]
    return whole if whole in files else whole.removeprefix("test/")


_LABELS = {
    **dict.fromkeys(("good", "ok", "normal", "false", "0"), False),
    **dict.fromkeys(("defect", "defective", "anomaly", "anomalous", "bad", "ng", "nok", "true", "1"), True),
}


def _mask_files(root: Path) -> dict[str, Path]:
    """Masks by ``TYPE/STEM``."""
    # one may also point at the test folder itself
    folder = next((place / MASKS for place in (root, root.parent) if (place / MASKS).is_dir()), None)
    if folder is None or (folder.parent != root and root.name != "test"):
        return {}
    found = {}
    for path in sorted(Path(entry.path) for entry in walk(folder, on_unlisted=lambda *_: None)):
        if is_picture(path.name):
            relative = path.relative_to(folder).with_suffix("").as_posix()
            found[relative.removesuffix("_mask")] = path
    return found
