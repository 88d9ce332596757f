"""The figures of an evaluation from verdicts that were written down: by ``andon score --json`` or by the monitor.

What the line really did, held against what inspection found later: no model file, no pictures, and so no figures of pixels.
An item that was judged again, as after a restart, counts as it was judged last.
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
    """What matters here of one line; other keys are not looked at."""

    item: str
    status: str
    score: float | None
    threshold: float | None
    model: str
    part: str = ""
    time_s: float | None = None
    unit: str = ""
    """frame or window; empty in lines that do not say it."""


class VerdictLog(Struct, frozen=True, kw_only=True):
    """Verdicts of one model file."""

    model: str
    """Its short digest."""
    threshold: float
    verdicts: dict[str, Written]
    """By item, the last one of each."""
    lines: int
    """So many verdicts were written; more than items where some were judged again."""


def is_verdict_log(path: Path) -> bool:
    """Return whether a file holds JSON lines, by its suffix or its first character, and not a model."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    except OSError:
        return False


def read_verdicts(path: Path, *, model: str | None = None) -> VerdictLog:
    """Read JSON lines. A last line without its end is left out where it cannot be read: it is being written.

    Args:
        path: as ``andon score --json`` or ``andon monitor --out`` wrote it.
        model: short digest, or its beginning, of the model file whose verdicts are wanted; None where there is only one.

    Items that were judged more than once are reported as a warning: correct after a restart, wrong for folders of equal names.

    Raises:
        DataError: not readable; a line that is not a verdict, with its number; one model with two thresholds.
        ConfigError: several models judged and none was named, or the one named did not.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"{path}: expected JSON lines in UTF-8, got UTF-16, as PowerShell's > writes it: save it as UTF-8."
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
                f"{path}, line {number}: expected a verdict as andon score --json or andon monitor writes it: {error}"
            ) from error
    if not every:
        raise DataError(f"{path}: expected verdicts, one JSON object a line, got none.")
    chosen = _model(path, Counter(one.model for one in every), model)
    mine = [one for one in every if one.model == chosen]
    thresholds = sorted({one.threshold for one in mine if one.threshold is not None})
    if len(thresholds) != 1:
        raise DataError(
            f"{path}: expected one threshold of the model {chosen}, got {len(thresholds)}"
            + (f" ({', '.join(f'{threshold:g}' for threshold in thresholds)})" if thresholds else "")
            + "; a model file has one, so these lines are not all of one andon."
        )
    _tell_of_repeats(path, mine)
    return VerdictLog(model=chosen, threshold=thresholds[0], verdicts={one.item: one for one in mine}, lines=len(mine))


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
    """Count verdicts whose truth is known. The promise is in the model file, so nothing is said of it.

    Args:
        log: from `read_verdicts`.
        truth: by item. Items that are not in it are counted as `unknown`, those that were never judged as `unjudged`.
        recall: as for `frames.evaluate`.
        group: which items show one part, as `grouping.parse_rule` takes it; a part then counts by its worst item.
        intervals: as for `frames.evaluate`.
        seed: as for `frames.evaluate`.
        progress: as for `frames.evaluate`.

    Raises:
        ConfigError: `group` is not a rule.
        DataError: no item in common, one that `group` does not fit, or no good or no defective one that could be judged.
    """
    met = meet(log.verdicts, truth.defective)
    known = [one for key, one in log.verdicts.items() if key in met.keys]
    if not known:
        raise DataError(
            f"the truth of none of the {len(log.verdicts)} items is known: keys must be the items', such as "
            f"{next(iter(log.verdicts))!r}; the truth has {next(iter(truth.defective), 'none')!r}. Give --data the folder "
            "whose items were judged."
        )
    if met.told:
        logger.warning("%d of %d items are found in the truth %s", len(known), len(log.verdicts), met.told)
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
        judged, threshold=log.threshold, recall=recall, intervals=intervals, seed=seed, progress=progress
    )
    return structs.replace(
        figures,
        unknown=len(log.verdicts) - len(known),
        unjudged=met.there - len(known),
        unit="window" if all(_is_window(one) for one in known) else "part",
        frames=0 if group is None else len(known),
    ), judged


class Met(Struct, frozen=True, kw_only=True):
    """Which items are which in the truth."""

    keys: dict[str, str]
    """Key in the truth, by item."""
    there: int
    """Keys of the truth that could have been met."""
    told: str = ""
    """By what they meet, where they are not the same."""


def meet(items: Collection[str], known: Collection[str]) -> Met:
    """Match items to the truth by key, or, if no key is equal, below one folder that either side begins with.

    Of several such folders the one counts that meets all the items that any of them meets, and more than each; else none:
    ``good/0.png`` may be of train/ as well as of test/.

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
    told = max(ways, key=lambda way: len(ways[way]))
    best = ways[told]
    if any(len(other) == len(best) or not other.keys() <= best.keys() for way, other in ways.items() if way != told):
        return Met(keys={}, there=len(known))
    begin = told.removeprefix("as ").removesuffix("ITEM")
    there = sum(key.startswith(begin) for key in known) if told.startswith("as ") else len(known)
    return Met(keys=best, there=there, told=told)


def _cuts(key: str) -> Iterator[tuple[str, str]]:
    """Yield folder and rest at each slash."""
    for place, letter in enumerate(key):
        if letter == "/" and place:
            yield key[:place], key[place + 1 :]


def _is_window(one: Written) -> bool:
    """Return whether a line is about a window: as it says, or else by its key.

    Windows of a log are named ``RUN#POINT``; frames of a video, a camera or a stream are numbered likewise.
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
                f"{path}: {len(models)} model files judged: {listed}. Their scores cannot be compared: "
                "name one with --model."
            )
        return next(iter(models))
    found = [name for name in models if wanted and name.startswith(wanted)]
    if len(found) != 1:
        raise ConfigError(f"{path}: expected the model {wanted!r}{nearest(wanted, models)}; got verdicts of {listed}.")
    return found[0]


def _tell_of_repeats(path: Path, mine: Sequence[Written]) -> None:
    last = {one.item: one for one in mine}
    repeated = sum(times > 1 for times in Counter(one.item for one in mine).values())
    if not repeated:
        return
    otherwise = {one.item for one in mine if _differs(one, last[one.item])}
    told = (
        f" {len(otherwise)} came with another status or score, such as {min(otherwise)!r}: were several items written under one "
        "name? Score the folders in one call, which tells them apart, or each into a file of its own."
        if otherwise
        else ""
    )
    many = "1 item was" if repeated == 1 else f"{repeated} items were"
    logger.warning("%s: %s judged more than once; the last verdict counts.%s", path, many, told)


def _differs(one: Written, last: Written) -> bool:
    """Return whether two verdicts differ by more than the number of threads can explain."""
    if one.score is None or last.score is None:
        return one.status != last.status
    return one.status != last.status or not math.isclose(one.score, last.score, rel_tol=1e-4)


def _checked(one: Written) -> Written:
    if one.status not in Status.__members__:
        raise ValueError(f"expected a status of {', '.join(Status.__members__)}, got {one.status!r}")
    if one.score is None and one.status != Status.INVALID.name:
        raise ValueError(f"expected a score with {one.status}, got null")
    return one


_decoder = msgspec.json.Decoder(Written)
