"""Choose the pictures of a folder to train on, and refuse folders that may contain more than good parts.

A detector that was trained on defects accepts them as good, and no later step can detect this. The rules, in this order:

1. A folder is *good* if its name is good, ok or normal, in upper or lower case. A name *means good* if one of its words is good,
   ok, gut, io, passed, ..., or if it denies defects (``good_1``, ``Gutteile``, ``defect-free``, ``ohne_Fehler``).
2. If there is ``train/good``, train on it and on nothing else in that tree.
3. Otherwise, if there is ``good`` at the top, train on it and on nothing else.
4. Refuse ``test/good`` without ``train/good``.
5. Otherwise train on all pictures, if the folder passes the checks below. This accepts a flat folder, and trees in which every
   picture is below a good folder. It also accepts folders named after lots, dates, cameras, lines, shifts, sides, numbers or
   single letters (``2026-11-01``, ``cam1``, ``Schicht A``, ``links``).

Rule 5 refuses a tree with

* a folder, at any depth, whose name has a word for test parts, masks or defects (nok, ng, bad, reject*, schlecht*, ...);
* only some pictures below good folders, or below folders whose names mean good;
* a folder whose name means good next to any other folder;
* any other folder name next to further pictures or folders, because these may be classes of defects.

Below a chosen good folder all names are accepted, except names with a word for defects, names of masks, and test, testing, val
and validation.

For rule 5, the place of the folder that the user gives counts, too. A folder of a test part next to ``train``, a folder of
masks, and a folder next to ``good`` are refused, unless their names mean good or lots. If the place states nothing but the name
means defects or test parts, the folder is used with a warning, because the user chose it.
"""

import logging
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.sources.pictures.folder import GOOD, is_good, layout
from andon.sources.pictures.folder_walk import MASKS

logger = logging.getLogger(__name__)

File = TypeVar("File")


def good_part(text: str, files: Mapping[str, File]) -> dict[str, File]:
    """Return the files to train on, by the rules above.

    Args:
        text: the folder as the user gave it, for messages and examples.
        files: all pictures by key, relative to the folder, with ``/``.

    Raises:
        DataError: the folder may contain more than good parts; the message names a path to give instead.
    """
    shape = layout(files)
    if shape == "test alone":
        raise DataError(
            f"{text}: expected train/{GOOD}, found test/{GOOD} but no train/{GOOD}. Training on test parts is refused. "
            f"{_instead_of_test(text.rstrip('/'), [_folders(key) for key in files])}"
        )
    place = {"tree": 1, "good": 0, "plain": -1}[shape]
    good = {key: file for key, file in files.items() if place < 0 or _is_good_at(key, place)}
    places = [_folders(key) for key in good]
    good_folder = "/".join(places[0][: place + 1])
    found = (_masks(Path(text)) or _mixture(places) if place < 0 else "") or _odd_name(places, place + 1)
    if found:
        raise DataError(
            f"{text}: expected good parts only, found {printable(found)}. {_instead(text.rstrip('/'), places, good_folder)}"
        )
    if place < 0:
        _check_given(text, places)
        if any(places):
            _name_folders(text, places)
    if len(good) < len(files):
        logger.info(
            "%s: training on %d pictures in %s, leaving out %d", text, len(good), good_folder, len(files) - len(good)
        )
    return good


def _check_given(text: str, places: list[tuple[str, ...]]) -> None:
    """Check the name and the place of the folder that the user gave.

    Raises:
        DataError: its place in a tree states that it holds test parts, masks or defects.
    """
    folder = Path(os.path.abspath(text))  # noqa: PTH100 - a link is taken by its own name and place
    if not folder.is_dir() or all(any(is_good(name) for name in folders) for folders in places):
        return
    near = [folder, *folder.parents][:3]
    if _means_good(folder.name) or any(is_good(one.name) for one in near):
        return
    for one in near:
        if one.name.casefold() == MASKS:
            raise DataError(
                f"{text}: expected good parts, found masks: the folder is in {printable(one.name)}. {_MOVE}"
            )
        if one.name.casefold() in _TEST_NAMES and (train := _named(one.parent, "train".__eq__)):
            tree = one.parent if _named(one.parent / train, is_good) else one.parent / train
            raise DataError(
                f"{text}: expected good parts, found test parts: the folder is in {printable(one.name)}, next to "
                f"{printable(train)}. Give the good parts instead: --data {_as_given(tree, text)}"
            )
    for one in near[:2]:
        any_name = one == folder and not _is_lot(one.name) and one.name.casefold() != "train"
        if (any_name or _is_defect(one.name)) and (good := _named(one.parent, is_good)):
            raise DataError(
                f"{text}: expected good parts, found the folder {printable(one.name)} next to {printable(good)}. In this layout "
                f"it holds defects. Give the good parts instead: --data {_as_given(one.parent / good, text)}"
            )
    # not the folders above: a project may be called defect_detection
    odd = folder.name if _is_defect(folder.name) or folder.name.casefold() in _TEST_NAMES else ""
    odd = odd or (folder.parent.name if folder.parent.name.casefold() in _TEST_NAMES else "")
    if odd:
        logger.warning(
            "%s: the name of the folder %s means defects or test parts. All its pictures are used as good parts. If they are not "
            "good, stop and give the folder of good parts",
            text,
            printable(odd),
        )


_MOVE = "Give the folder of good parts. If these are good parts, copy them into a folder of their own."


def _as_given(path: Path, text: str) -> str:
    """Return a path for a message, relative to the working folder if the user gave a relative one."""
    return printable(str(path) if Path(text).is_absolute() else os.path.relpath(path))


def _named(folder: Path, wanted: Callable[[str], bool]) -> str:
    """Return the name of a folder in this folder whose name, in lower case, is wanted; an empty text if there is none."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        return next((entry.name for entry in entries if wanted(entry.name.casefold()) and entry.is_dir()), "")
    except OSError:  # a folder above the given one may not be readable
        return ""


def _folders(key: str) -> tuple[str, ...]:
    return tuple(key.split("/")[:-1])


def _is_good_at(key: str, place: int) -> bool:
    folders = _folders(key)
    return len(folders) > place and is_good(folders[place]) and (place == 0 or folders[0].casefold() == "train")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GOOD_WORDS = _listed("good ok normal gut gute guten gutteil gutteile io pass passed accepted undamaged flawless")
_DEFECT_WORDS = _listed("""
    nok ng nio bad fail fails failed failure failures fault faults faulty scrap waste abnormal outlier outliers notok notgood
    nogood flaw flaws flawed dent dents dented crack cracks cracked
    riss risse rissig delle dellen bruch kaputt mangel mängel maengel mangelhaft
    """)
_DEFECT_STARTS = tuple(
    _listed("""
    defect reject anomal scratch broken damage contaminat
    defekt schlecht ausschuss fehler kratzer verkratz zerkratz beschädig beschaedig
    """)
)
_A_DEFECT = rf"(?:(?:{'|'.join(sorted(_DEFECT_WORDS))})|(?:{'|'.join(sorted(_DEFECT_STARTS))})\w*?)"
# not the German ending -los: a "Kratzer Los" or "Ausschusslos" is a lot of defective parts
_NO_DEFECTS = re.compile(
    r"\b(?:no|not|non|without|ohne|keine?|free of|frei von)\W*(?:(?:any|visible|known)\W+)?" + _A_DEFECT + r"\b"
    r"|\b" + _A_DEFECT + r"(?:\W*(?:free|frei\w{0,2})|less)\b"
)
_NOT_GOOD = re.compile(
    r"\b(?:not?|non|un|nicht)\b\W*\b(?:good|ok|normal|gut|io|in ordnung)\b|\bn\W?i\W?o\b|\bn\W?o\W?k\b"
)
_IN_ORDER = re.compile(r"\bi\W?o\b|\bok\d+\b|\bin ordnung\b")
_TEST_WORDS = _listed("test tests testing val valid validation eval evaluation")
_TEST_NAMES = _listed("test testing val validation")
_MASK_NAMES = _listed("ground_truth groundtruth gt mask masks")
_CLASS_WORDS = _listed("class type kind category klasse typ sorte kategorie")
# names of folders that sort pictures by place and time, not by content
_LOT = re.compile(r"(?:lot|batch|charge|cam|camera|shift|day|week|serial|coil|tray)[a-z]?s?")
_LOT_WORDS = _listed("""
    monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun
    montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag
    january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep oct nov dec
    januar februar märz maerz mai juni juli oktober dezember mär okt dez
    morning noon evening night early late
    früh frueh spät spaet nacht morgen mittag abend frühschicht fruehschicht spätschicht spaetschicht nachtschicht tagschicht
    left right top bottom front back rear side middle center centre inner outer upper lower north south east west
    links rechts oben unten vorn vorne hinten mitte seite innen aussen nord süd sued ost
    line lines series
    kamera kameras schicht schichten linie linien serie serien los lose chargen tag woche
    """)
_LETTER = re.compile(r"[a-z]")

# a new word begins at a capital letter (DefectFree, NGParts), and between digits and three or more letters: NG200 is a product
_BORDER = re.compile(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_DIGITS_BORDER = re.compile(r"(?<=[^\W\d_]{3})(?=\d)|(?<=\d)(?=[^\W\d_]{3})")


def _plain(name: str) -> str:
    """Return a name in lower case, with spaces between its words."""
    composed = unicodedata.normalize("NFC", name)  # macOS stores a letter and its dots separately
    return _DIGITS_BORDER.sub(" ", _BORDER.sub(" ", composed).casefold().replace("_", " "))


def _words(plain: str) -> set[str]:
    return set(re.findall(r"\w+", plain))


def _is_defect(name: str) -> bool:
    plain = _plain(name)
    words = _words(_NO_DEFECTS.sub(" ", plain))
    return (
        _NOT_GOOD.search(plain) is not None
        or bool(words & _DEFECT_WORDS)
        or any(word.startswith(_DEFECT_STARTS) for word in words)
    )


def _means_good(name: str) -> bool:
    if _is_defect(name):
        return False
    plain = _plain(name)
    return bool(_GOOD_WORDS & _words(plain) or _IN_ORDER.search(plain) or _NO_DEFECTS.search(plain))


def _is_test(name: str) -> bool:
    return name.casefold() in _MASK_NAMES or bool(_TEST_WORDS & _words(_plain(name)))


def _is_lot(name: str) -> bool:
    words = _words(_plain(name))
    if words & _CLASS_WORDS:
        return False
    return (
        any(sign.isdigit() for sign in name)
        or _LETTER.fullmatch(name.casefold()) is not None
        or any(word in _LOT_WORDS or _LOT.fullmatch(word) for word in words)
    )


def _masks(root: Path) -> str:
    """Describe a folder of masks at the top, if any. Such folders are not in the listing, so the disk is searched."""
    if root.is_dir():
        for entry in root.iterdir():
            if entry.name.casefold() == MASKS and entry.is_dir():
                return _test_folder(entry.name)
    return ""


def _odd_name(places: list[tuple[str, ...]], depth: int) -> str:
    """Describe a folder, at this depth or below, whose name means defects, tests or masks; return an empty text if none."""
    for folders in places:
        below_good = depth > 0
        for at, name in enumerate(folders[depth:], start=depth):
            place = "/".join(folders[: at + 1])
            if _is_defect(name):
                return f"the folder {place}, whose name means defects"
            # everything below a good folder is good, so only exact names count there: "test bench" is accepted
            if name.casefold() in _TEST_NAMES | _MASK_NAMES if below_good else _is_test(name):
                return _test_folder(place)
            below_good = below_good or is_good(name)
    return ""


def _test_folder(place: str) -> str:
    return f"the folder {place}, whose name means test parts or masks"


def _mixture(places: list[tuple[str, ...]]) -> str:
    """Describe why these folders must not all be used for training (rule 5); return an empty text if they may."""
    in_good = [any(is_good(name) for name in folders) for folders in places]
    if any(in_good):
        return "" if all(in_good) else "folders of good parts and other pictures next to them"
    if odd_name := _odd_name(places, 0):
        return odd_name
    named_good = [any(_means_good(name) for name in folders) for folders in places]
    if any(named_good) and not all(named_good):
        return _next_to_good(places, named_good)
    children: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for folders in set(places):
        for depth in range(len(folders)):
            children[folders[:depth]].add(folders[depth])
        children[folders].add("")  # pictures directly in this folder
    for above, names in children.items():
        good = {name for name in names if _means_good(name)}
        others = sorted(names - good - {""})
        if good and others:
            return _next_to_good([(*above, min(good)), (*above, others[0])], [True, False])
        odd = [name for name in others if not _is_lot(name)]
        if len(names) > 1 and odd:
            return f"the folders {', '.join(odd[:5])}, which could be classes of defects"
    return ""


def _next_to_good(places: list[tuple[str, ...]], named_good: list[bool]) -> str:
    good, other = "/".join(places[named_good.index(True)]), "/".join(places[named_good.index(False)])
    return f"the folder {good}, whose name means good, and next to it {other or 'pictures'}, which may not be good"


def _name_folders(text: str, places: list[tuple[str, ...]]) -> None:
    tops = sorted({folders[0] for folders in places if folders})
    more = f" and {len(tops) - 5} more" if len(tops) > 5 else ""
    logger.warning(
        "%s: training on all %d pictures as good parts, in the folders %s%s",
        text,
        len(places),
        printable(", ".join(tops[:5])),
        more,
    )


def _instead(root: str, places: list[tuple[str, ...]], good_folder: str) -> str:
    """Return advice on how to continue, with the nearest path that training would accept."""
    if good_folder:
        return f"Rename the folder if its parts are good, or move its pictures out of {root}/{good_folder}."
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
    if train := _train_alone(places):
        return f"Give the training folder, if all its parts are good: --data {root}/{train}"
    # folders named by numbers are accepted next to anything; ROOT/good/good would be refused in the same way
    if is_good(Path(root).absolute().name):
        return f"Rename the folders if all their parts are good (1, 2, ...), or move the other pictures out of {root}."
    return (
        f"Put good parts into {root}/{GOOD}, with any folders below it, and give --data {root} again. If all parts are good, "
        "rename the folders: 1, 2, ..."
    )


def _instead_of_test(root: str, places: list[tuple[str, ...]]) -> str:
    if train := _train_alone(places):
        return f"Give the training folder, if all its parts are good: --data {root}/{train}"
    return f"Put good parts into {root}/train/{GOOD}, or give --data {root}/test to train on its good parts."


def _train_alone(places: list[tuple[str, ...]]) -> str:
    """Return the name of the training folder, if there is one and its pictures may be used as they are."""
    train = next((folders[0] for folders in places if folders and folders[0].casefold() == "train"), "")
    return "" if _mixture([folders[1:] for folders in places if folders[:1] == (train,)]) else train
