"""Choose the pictures of a folder that training may learn from, and refuse folders that mix in anything else.

A detector that learns from defects calls them good, and no later step can notice it. The rule, in this order:

1. A folder name is *good* if it is good, ok or normal, in upper or lower case.
2. ``train/good`` is learned from, and nothing else of that tree.
3. Otherwise ``good`` at the top is learned from, and nothing next to it.
4. ``test/good`` without ``train/good`` is refused.
5. Otherwise all pictures are learned from. This holds for a flat folder, for folders named after lots, dates, cameras, sides or
   numbers (``2026-11-01``, ``cam1``, ``lotA``, ``left``), and for trees in which every picture is below a good folder.
   Refused are a folder named test, validation, ground_truth or after a defect (nok, ng, bad, reject*, scratch*, ...) at any
   depth; a good folder next to others below the top; and any other name next to further pictures or folders, as classes have.

Below a chosen good folder any name is accepted, except the names of defects and of test parts. The name of the folder that the
user gives is not looked at: it is the user's own choice.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.sources.pictures.folder import GOOD, is_good, layout
from andon.sources.pictures.folder_walk import MASKS

logger = logging.getLogger(__name__)

File = TypeVar("File")


def good_part(text: str, files: Mapping[str, File]) -> dict[str, File]:
    """Return the files to learn from, by the rule above.

    Args:
        text: the folder as the user gave it, for messages and examples.
        files: all pictures by key, relative to the folder, with ``/``.

    Raises:
        DataError: the folder may hold more than good parts; the message names a path to give instead.
    """
    shape = layout(files)
    if shape == "test alone":
        raise DataError(
            f"{text}: expected train/{GOOD}, found no train/{GOOD}, so there is nothing to learn from that is not there to be "
            f"tested on. Put good parts into {text}/train/{GOOD}, or give --data {text}/test to learn from its good parts."
        )
    place = {"tree": 1, "good": 0, "plain": -1}[shape]
    good = {key: file for key, file in files.items() if place < 0 or _is_good_at(key, place)}
    places = [_folders(key) for key in good]
    home = "/".join(places[0][: place + 1])
    found = (_masks(Path(text)) or _mixture(places) if place < 0 else "") or _odd_name(places, place + 1)
    if found:
        raise DataError(
            f"{text}: expected good parts only, found {printable(found)}. {_instead(text.rstrip('/'), places, home)}"
        )
    if place < 0 and any(places):
        _name_folders(text, places)
    if len(good) < len(files):
        logger.info("%s: learn from %d pictures in %s, leave out %d", text, len(good), home, len(files) - len(good))
    return good


def _folders(key: str) -> tuple[str, ...]:
    return tuple(key.split("/")[:-1])


def _is_good_at(key: str, place: int) -> bool:
    folders = _folders(key)
    return len(folders) > place and is_good(folders[place]) and (place == 0 or folders[0].casefold() == "train")


_WORDS = re.compile(r"[^\W\d_]+")
_DEFECT_WORDS = frozenset(
    [
        "nok",
        "ng",
        "nio",
        "ko",
        "bad",
        "fail",
        "fails",
        "failed",
        "failure",
        "failures",
        "fault",
        "faults",
        "faulty",
        "scrap",
        "waste",
        "abnormal",
        "outlier",
        "outliers",
        "notok",
        "notgood",
        "nogood",
    ]
)
_DEFECT_STARTS = ("defect", "reject", "anomal", "scratch", "crack", "broken", "damage", "contaminat", "dent")
_DENIALS = re.compile(r"\b(?:not?|non|in|un)\b[\W_]*\b(?:good|ok|normal)\b|\bn\W?i\W?o\b|\bn\W?o\W?k\b")
_TEST_WORDS = frozenset({"test", "tests", "testing", "val", "valid", "validation", "eval", "evaluation"})
_MASK_NAMES = frozenset({"ground_truth", "groundtruth", "gt", "mask", "masks"})
# folders that sort pictures by where and when they were taken, and not by what they show
_LOT = re.compile(r"(?:lot|batch|charge|cam|camera|shift|day|week|serial|coil|tray)[a-z]?s?")
_CLASS_WORDS = frozenset({"class", "type", "kind", "category"})
_LOT_WORDS = frozenset(
    [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "oct",
        "nov",
        "dec",
        "morning",
        "noon",
        "evening",
        "night",
        "early",
        "late",
        "left",
        "right",
        "top",
        "bottom",
        "front",
        "back",
        "rear",
        "side",
        "inner",
        "outer",
        "upper",
        "lower",
        "north",
        "south",
        "east",
        "west",
    ]
)


def _is_defect(name: str) -> bool:
    plain = name.casefold().replace("_", " ")
    words = _WORDS.findall(plain)
    return (
        any(word in _DEFECT_WORDS or word.startswith(_DEFECT_STARTS) for word in words)
        or _DENIALS.search(plain) is not None
    )


def _is_test(name: str) -> bool:
    plain = name.casefold()
    return plain in _MASK_NAMES or bool(_TEST_WORDS & set(_WORDS.findall(plain)))


def _is_lot(name: str) -> bool:
    plain = name.casefold()
    words = set(_WORDS.findall(plain))
    if words & _CLASS_WORDS:
        return False
    return any(sign.isdigit() for sign in plain) or any(word in _LOT_WORDS or _LOT.fullmatch(word) for word in words)


def _masks(root: Path) -> str:
    """Name a folder of masks at the top; the listing leaves them out, so that they have to be looked for."""
    if root.is_dir():
        for entry in root.iterdir():
            if entry.name.casefold() == MASKS and entry.is_dir():
                return _stands_for_tests(entry.name)
    return ""


def _odd_name(places: list[tuple[str, ...]], depth: int) -> str:
    """Name a folder, at this depth or below, that is called after defects, tests or masks."""
    for folders in places:
        for at, name in enumerate(folders[depth:], start=depth):
            place = "/".join(folders[: at + 1])
            if _is_defect(name):
                return f"the folder {place}, whose name stands for defects"
            if _is_test(name):
                return _stands_for_tests(place)
    return ""


def _stands_for_tests(place: str) -> str:
    return f"the folder {place}, whose name stands for test parts or masks"


def _mixture(places: list[tuple[str, ...]]) -> str:
    """Say what speaks against learning from all of these folders, by their places relative to each other."""
    kept = [any(is_good(name) for name in folders) for folders in places]
    if any(kept):
        return "" if all(kept) else "folders of good parts and other pictures next to them"
    if odd_name := _odd_name(places, 0):
        return odd_name
    children: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for folders in set(places):
        for depth in range(len(folders)):
            children[folders[:depth]].add(folders[depth])
        children[folders].add("")  # pictures of its own
    for names in children.values():
        odd = sorted(name for name in names if name and not _is_lot(name))
        if len(names) > 1 and odd:
            return f"the folders {', '.join(odd[:5])}, which could be classes of defects"
    return ""


def _name_folders(text: str, places: list[tuple[str, ...]]) -> None:
    tops = sorted({folders[0] for folders in places if folders})
    more = f" and {len(tops) - 5} more" if len(tops) > 5 else ""
    logger.warning(
        "%s: learn from all %d pictures as good parts, in the folders %s%s",
        text,
        len(places),
        printable(", ".join(tops[:5])),
        more,
    )


def _instead(root: str, places: list[tuple[str, ...]], home: str) -> str:
    """Name the nearest path that training would accept."""
    if home:
        return f"Move those pictures out of {root}/{home}."
    above = [
        (folders[at - 1].casefold() if at else "", folders, at)
        for folders in places
        for at, name in enumerate(folders)
        if is_good(name)
    ]
    above.sort(key=lambda one: (one[0] != "train", _is_test(one[0])))  # a training part first, a test part last
    if above:
        parent, folders, at = above[0]
        tree = folders[: at - 1 if parent == "train" else at]
        return f"Give the folder above the good parts: --data {printable('/'.join((root, *tree)))}"
    train = next((folders[0] for folders in places if folders and folders[0].casefold() == "train"), None)
    if train is not None and not _mixture([folders[1:] for folders in places if folders[:1] == (train,)]):
        return f"Give the folder that holds good parts only: --data {root}/{train}"
    return f"Put good parts into {root}/{GOOD}, with any folders below it, and give --data {root} again."
