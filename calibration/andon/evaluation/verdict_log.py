"""Compute results from a log of verdicts, as ``andon score --json`` or ``andon monitor`` writes it.

The results compare the decisions on the line with the truth that was found later. They need neither the model file nor
pictures, so there are no results for pixels. If an item was judged again, for example after a restart, its last verdict counts.
"""

import codecs
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from andon.evaluation.figures.part_figures import Evaluation, summarise
from andon.evaluation.judged_parts import JudgedPart, worst_frames
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.progress import Progress, silent
from andon.foundation.settings import nearest
from andon.runtime.items import Ref
from andon.runtime.schema import Status
from andon.sources.grouping import regroup
from andon.sources.kinds.video import SUFFIXES as VIDEOS
from andon.sources.truth import Truth

logger = logging.getLogger(__name__)

_SUFFIXES = (".jsonl", ".ndjson", ".json")


class Written(Struct, frozen=True, kw_only=True):
    """The fields of one line that the evaluation needs. Other keys are ignored."""

    item: str
    status: str
    score: float | None
    threshold: float | None
    model: str
    part: str = ""
    time_s: float | None = None
    unit: str = ""
    """frame or window; empty if the line does not have this key."""


class VerdictLog(Struct, frozen=True, kw_only=True):
    """Verdicts of one model file."""

    model: str
    """Short digest of the model file."""
    threshold: float
    verdicts: dict[str, Written]
    """The last verdict of each item."""
    lines: int
    """Number of lines of this model. It is larger than the number of items if some were judged again."""


def is_verdict_log(path: Path) -> bool:
    """Return whether a file holds JSON lines, by its suffix or its first character."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    except OSError:
        return False


def read_verdicts(path: Path, *, model: str | None = None) -> VerdictLog:
    """Read a log of verdicts (JSON lines). An incomplete last line is left out: a process may still be writing it.

    Args:
        path: a file from ``andon score --json`` or ``andon monitor --out``.
        model: short digest of the model file that gave the wanted verdicts, or the first characters of the digest. None if only
            one model
            judged.

    Items that were judged more than once give a warning. Repeated items are normal after a restart, but a mistake if folders
    hold files with equal names.

    Raises:
        DataError: the file is not readable, a line is not a verdict, or one model has two thresholds.
        ConfigError: several models judged and `model` is None, or `model` fits none or several of them.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"{path}: expected JSON lines in UTF-8, got UTF-16, as PowerShell's > writes it. Save the file as UTF-8."
        )
    every: list[Written] = []
    raw = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(raw, 1):
        if not line.strip():
            continue
        try:
            every.append(_checked(_decoder.decode(line)))
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
            if number == len(raw):
                break
            raise DataError(
                f"{path}, line {number}: expected a verdict from andon score --json or andon monitor, but {error}"
            ) from error
    if not every:
        raise DataError(f"{path}: expected verdicts, one JSON object per line, got none.")
    selected = _model(path, Counter(one.model for one in every), model)
    mine = [one for one in every if one.model == selected]
    thresholds = sorted({one.threshold for one in mine if one.threshold is not None})
    if len(thresholds) != 1:
        raise DataError(
            f"{path}: expected one threshold of the model {selected}, got {len(thresholds)}"
            + (f" ({', '.join(f'{threshold:g}' for threshold in thresholds)})" if thresholds else "")
            + ". A model file has exactly one threshold, so these lines are not from one file."
        )
    _warn_of_repeats(path, mine)
    return VerdictLog(
        model=selected, threshold=thresholds[0], verdicts={one.item: one for one in mine}, lines=len(mine)
    )


def evaluate_verdicts(
    log: VerdictLog,
    truth: Truth,
    *,
    recall: float = 0.99,
    group: str | None = None,
    intervals: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Evaluation, list[JudgedPart]]:
    """Return the results for verdicts with known labels. They contain no promise, because the promise is in the model file.

    Args:
        log: from `read_verdicts`.
        truth: truth by item. Items without a truth are counted as `unknown`, parts that were never judged as `unjudged`.
        recall: as for `frames.evaluate`.
        group: rule for which items show one part, for `grouping.parse_rule`. A part then counts by its worst item.
        intervals: as for `frames.evaluate`.
        seed: as for `frames.evaluate`.
        progress: as for `frames.evaluate`.

    Raises:
        ConfigError: `group` is not a valid rule.
        DataError: the log and the truth have no item in common, `group` does not fit an item, or no item could be judged.
    """
    met = meet(log.verdicts, truth.defective)
    known = [one for key, one in log.verdicts.items() if key in met.keys]
    if not known:
        raise DataError(
            f"none of the {len(log.verdicts)} items of the log has a label: the log has items such as "
            f"{next(iter(log.verdicts))!r}, the labels have keys such as {next(iter(truth.defective), 'none')!r}. Give --data "
            "the folder whose items were judged, or use the item names of the log as keys in the --truth table."
        )
    if met.way:
        logger.warning("%d of %d items were found in the truth %s", len(known), len(log.verdicts), met.way)
    refs: Sequence[Ref] = [Ref(key=one.item, part=one.part, time_s=one.time_s) for one in known]
    judged = [
        JudgedPart(
            ref=ref,
            score=float("nan") if one.score is None else one.score,
            status=Status[one.status],
            defective=truth.defective[met.keys[one.item]],
            kind=truth.kind.get(met.keys[one.item], "defect") if truth.defective[met.keys[one.item]] else "good",
        )
        for one, ref in zip(known, refs if group is None else regroup(refs, group), strict=True)
    ]
    judged = judged if group is None else worst_frames(judged)
    figures = summarise(
        judged,
        threshold=log.threshold,
        recall=recall,
        unit="window" if all(_is_window(one) for one in known) else "part",
        intervals=intervals,
        seed=seed,
        progress=progress,
    )
    return structs.replace(
        figures,
        unknown=len(log.verdicts) - len(known),
        unjudged=met.there - len(known),
        frames=0 if group is None else len(known),
    ), judged


class Met(Struct, frozen=True, kw_only=True):
    """The match between items and keys of the labels."""

    keys: dict[str, str]
    """Key in the labels, by item."""
    there: int
    """Number of keys of the labels that could have been matched."""
    way: str = ""
    """The difference between items and keys, in words; empty if they are equal."""


def meet(items: Collection[str], known: Collection[str]) -> Met:
    """Match items to keys of the labels. If no key is equal, match them after removing one leading folder on either side.

    If several folders give matches, the folder with the most matches is used, but only if it matches all items that the others
    match. Otherwise nothing matches: ``good/0.png`` could be in train/ or in test/.

    >>> meet(["good/0.png", "hole/0.png"], ["train/good/0.png", "test/good/0.png", "test/hole/0.png"]).keys["hole/0.png"]
    'test/hole/0.png'
    """
    same = {item: item for item in items if item in known}
    if same:
        return Met(keys=same, there=len(known))
    ways: dict[str, dict[str, str]] = {}
    for key in known:
        for folder, rest in _cuts(key):
            if rest in items:
                ways.setdefault(f"as {folder}/ITEM", {})[rest] = key
    for item in items:
        for folder, rest in _cuts(item):
            if rest in known:
                ways.setdefault(f"without their {folder}/", {})[item] = rest
    if not ways:
        return Met(keys={}, there=len(known))
    best_way = max(ways, key=lambda way: len(ways[way]))
    best = ways[best_way]
    if any(
        len(other) == len(best) or not other.keys() <= best.keys() for way, other in ways.items() if way != best_way
    ):
        return Met(keys={}, there=len(known))
    begin = best_way.removeprefix("as ").removesuffix("ITEM")
    there = sum(key.startswith(begin) for key in known) if best_way.startswith("as ") else len(known)
    return Met(keys=best, there=there, way=best_way)


def _cuts(key: str) -> Iterator[tuple[str, str]]:
    """Yield the folder and the rest of a key at each slash."""
    for place, letter in enumerate(key):
        if letter == "/" and place:
            yield key[:place], key[place + 1 :]


def _is_window(one: Written) -> bool:
    """Return whether a line is about a window, by its `unit`, or by its item if the unit is missing.

    Windows of a log are named ``RUN#POINT``. Frames of a video, a camera or a stream have similar names.
    """
    if one.unit:
        return one.unit == "window"
    run, mark, point = one.item.rpartition("#")
    frames = run.isdigit() or run.startswith(("camera:", "/dev/")) or "://" in run or Path(run).suffix.lower() in VIDEOS
    return bool(mark) and point.isdigit() and not frames


def _model(path: Path, models: Counter[str], wanted: str | None) -> str:
    listed = ", ".join(f"{name} ({lines} lines)" for name, lines in models.most_common())
    if wanted is None:
        if len(models) > 1:
            raise ConfigError(
                f"{path}: expected verdicts of one model file, got {len(models)}: {listed}. Their scores cannot be compared. "
                "Choose one with --model."
            )
        return next(iter(models))
    found = [name for name in models if wanted and name.startswith(wanted)]
    if len(found) != 1:
        raise ConfigError(f"{path}: expected the model {wanted!r}{nearest(wanted, models)}; got verdicts of {listed}.")
    return found[0]


def _warn_of_repeats(path: Path, mine: Sequence[Written]) -> None:
    last = {one.item: one for one in mine}
    repeated = sum(times > 1 for times in Counter(one.item for one in mine).values())
    if not repeated:
        return
    otherwise = {one.item for one in mine if _differs(one, last[one.item])}
    advice = (
        f" {len(otherwise)} got another status or score before, for example {min(otherwise)!r}. Were several items written under "
        "one name? Score the folders in one call, which gives them different names, or write one file for each folder."
        if otherwise
        else ""
    )
    many = "1 item was" if repeated == 1 else f"{repeated} items were"
    logger.warning("%s: %s judged more than once; the last verdict counts.%s", path, many, advice)


def _differs(one: Written, last: Written) -> bool:
    """Return whether two verdicts differ more than verdicts computed with different numbers of threads."""
    if one.score is None or last.score is None:
        return one.status != last.status
    return one.status != last.status or not math.isclose(one.score, last.score, rel_tol=1e-4)


def _checked(one: Written) -> Written:
    if one.status not in Status.__members__:
        raise ValueError(f"status: expected one of {', '.join(Status.__members__)}, got {one.status!r}")
    if one.score is None and one.status != Status.INVALID.name:
        raise ValueError(f"score: expected a number with status {one.status}, got null")
    return one


_decoder = msgspec.json.Decoder(Written)
