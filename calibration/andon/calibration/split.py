"""Split good parts once, before anything else uses them. Default: 60 % training, 10 % validation, 30 % calibration.

A calibration part must be new to the model, and so must everything that resembles it. Therefore all frames of a part and all
parts of a group stay together. A few long runs are too few groups to split. Their windows are split into disjoint blocks of
time with a gap of one window at each border, so that no row of a log is used twice.

The split depends on the references and the seed only, never on the order of the references. The calibration parts do not depend
on whether the detector needs validation parts.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from msgspec import Struct

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Ref

CALIBRATION_SHARE = 0.3
VALIDATION_SHARE = 0.1
MOST_CALIBRATION_SHARE = 0.8
"""Upper limit of the calibration share. More would leave too few parts for training."""
LEAST_CALIBRATION_PARTS = 14
"""Smallest number of calibration parts. The weakest promise, 20 % at 95 % confidence, needs 14 good parts."""
LEAST_GROUPS = 20
"""Smallest number of runs that are split as whole groups. Fewer runs are split by time within each run."""


class Split(Struct, frozen=True, kw_only=True):
    """Keys for each use, sorted by group, time and key. No key has two uses; some keys may have none."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    """Empty if the detector needs no validation parts. They are then used for training."""
    calibration: tuple[str, ...]


def split(
    refs: Sequence[Ref],
    *,
    seed: int,
    validation: bool = True,
    window_s: float | None = None,
    calibration_share: float = CALIBRATION_SHARE,
) -> Split:
    """Split good items by group. Windows of fewer than 20 runs are split by time within each run.

    By group: groups are shuffled with the seed. Whole groups are taken until 30 % of the *parts* (at least 14) are for
    calibration and 10 % for validation.

    By time: in each run, the first 60 % of the windows are for training, the next 10 % for validation and the last 30 % for
    calibration. The calibration share grows if 30 % has fewer than 14 disjoint windows. Windows that end within `window_s` of
    a border are left out.

    With another `calibration_share`, still 10 % are for validation, and the rest is for training.

    Args:
        refs: good items. For windows, `group` is the run and `time_s` the end of the window.
        seed: seed for shuffling groups. A split by time does not use it.
        validation: whether the detector needs validation parts. If not, these parts are used for training.
        window_s: length of a window in seconds, > 0; None for frames.
        calibration_share: share of the parts that is kept back for calibration, above 0 and at most 0.8.

    Raises:
        ConfigError: the share is out of bounds.
        DataError: there are too few parts or groups, a key occurs twice, a part is in two groups, or a window has no time.
    """
    require_share(calibration_share)
    _check(refs, window_s)
    ordered = sorted(refs, key=_position)
    groups = {ref.group for ref in ordered}
    if window_s is not None and len(groups) < LEAST_GROUPS:
        train, middle, calibration = _by_time(ordered, window_s, calibration_share)
    else:
        train, middle, calibration = _by_group(ordered, seed, validation, calibration_share)
    if not validation:
        if window_s is not None and len(groups) < LEAST_GROUPS:
            # No gap is needed between training and validation: use the windows at that border for training.
            train = _before(ordered, calibration, window_s)
        else:
            train = sorted(train + middle, key=_position)
        middle = []
    if not train or (validation and not middle):
        raise DataError(_too_few(ordered, window_s, train, middle, calibration))
    return Split(train=_keys(train), validation=_keys(middle), calibration=_keys(calibration))


def require_share(calibration_share: float) -> None:
    """Refuse a calibration share that leaves no parts for calibration or too few for training.

    Raises:
        ConfigError: the share is not above 0 and at most 0.8.
    """
    if not 0 < calibration_share <= MOST_CALIBRATION_SHARE:
        raise ConfigError(
            f"--calibration-share: expected a share of the good parts above 0 and at most {MOST_CALIBRATION_SHARE:g}, got "
            f"{calibration_share:g}. For example: --calibration-share {CALIBRATION_SHARE:g}"
        )


def calibration_count(total: int, share: float) -> int:
    """Return how many of `total` good parts `split` keeps back if each part is its own group; 0 if it cannot split them.

    >>> calibration_count(60, 0.3), calibration_count(20, 0.3)
    (18, 14)
    """
    if total < LEAST_CALIBRATION_PARTS + 2:
        return 0
    return min(total - 2, math.floor(max(share * total, LEAST_CALIBRATION_PARTS) + 0.5))


def total_for(need: int, share: float) -> int:
    """Return the smallest number of good parts from which `split` keeps back at least `need`, if each part is its own group.

    >>> total_for(149, 0.3), total_for(149, 0.8)
    (495, 186)
    """
    total = LEAST_CALIBRATION_PARTS + 2
    if need > LEAST_CALIBRATION_PARTS:
        total = max(total, math.floor((need - 1) / share))
    while calibration_count(total, share) < need:
        total += 1
    return total


def share_for(need: int, total: int) -> float | None:
    """Return the smallest share (in steps of 0.01) with which `split` keeps back `need` of `total` parts; None above 0.8.

    >>> share_for(149, 191), share_for(149, 60)
    (0.78, None)
    """
    shares = (percent / 100 for percent in range(1, round(100 * MOST_CALIBRATION_SHARE) + 1))
    return next((share for share in shares if calibration_count(total, share) >= need), None)


def disjoint(refs: Iterable[Ref], window_s: float) -> list[Ref]:
    """Return windows of each run that share no row: each ends at least `window_s` after the previous one.

    They are sorted by group and time. Overlapping windows give a calibration little more information than disjoint ones.

    Args:
        refs: windows; `time_s` is the end of a window.
        window_s: length of a window in seconds.
    """
    kept: list[Ref] = []
    for _, run in groupby(sorted(refs, key=_position), key=_group):
        last = -math.inf
        for ref in run:
            # Times are sums of periods. The tolerance keeps adjacent windows in spite of rounding.
            if _end(ref) - last >= window_s * (1 - 5e-7):
                kept.append(ref)
                last = _end(ref)
    return kept


def _by_group(ordered: list[Ref], seed: int, validation: bool, share: float) -> tuple[list[Ref], list[Ref], list[Ref]]:
    parts_of = {group: len({ref.part for ref in members}) for group, members in groupby(ordered, key=_group)}
    total = sum(parts_of.values())
    sides = 3 if validation else 2
    if len(parts_of) < sides or total < LEAST_CALIBRATION_PARTS + sides - 1:
        if len(parts_of) == total:  # nothing was grouped, so the message must not mention groups
            raise DataError(
                f"expected at least {LEAST_CALIBRATION_PARTS + sides - 1} good parts ({LEAST_CALIBRATION_PARTS} for "
                f"calibration, the rest for training), got {total}. Collect more."
            )
        raise DataError(
            f"expected at least {LEAST_CALIBRATION_PARTS + sides - 1} good parts in at least {sides} groups (groups are not "
            f"divided, and calibration needs {LEAST_CALIBRATION_PARTS} parts), got {total} parts in {_groups(parts_of)}. "
            "Collect more parts, or use smaller groups. Items of a long recording can be split by time if the length of a "
            "window is given."
        )
    shuffled = sorted(parts_of, key=lambda group: hashlib.sha256(f"{seed}\n{group}".encode()).digest())
    # Leave two groups even if only one is needed: the calibration parts must not depend on `validation`.
    left = 2 if len(parts_of) > 2 and total > LEAST_CALIBRATION_PARTS + 1 else 1
    calibration = _fill(shuffled, parts_of, share * total, LEAST_CALIBRATION_PARTS, left)
    rest = [group for group in shuffled if group not in calibration]
    middle = _fill(rest, parts_of, VALIDATION_SHARE * total, 1, 1)
    have = sum(parts_of[group] for group in calibration)
    if have < LEAST_CALIBRATION_PARTS:
        raise DataError(
            f"expected groups that can be divided into {LEAST_CALIBRATION_PARTS} good parts for calibration and a rest for "
            f"training, got {total} parts in {_groups(parts_of)} of {min(parts_of.values())} to "
            f"{max(parts_of.values())} parts. Collect more parts, or use smaller groups."
        )

    def members(belongs: Callable[[str], bool]) -> list[Ref]:
        return [ref for ref in ordered if belongs(ref.group)]

    return (
        members(lambda group: group not in calibration and group not in middle),
        members(middle.__contains__),
        members(calibration.__contains__),
    )


def _groups(parts_of: dict[str, int]) -> str:
    return "1 group" if len(parts_of) == 1 else f"{len(parts_of)} groups"


def _fill(shuffled: list[str], parts_of: dict[str, int], wanted: float, least: int, left: int) -> set[str]:
    """Return groups, taken in shuffled order, with about `wanted` parts in total, and at least `least` if possible.

    At least `left` groups are not taken.
    """
    wanted = max(wanted, least)
    room = len(shuffled) - left
    taken: set[str] = set()
    have = 0
    for group in shuffled:
        # Take a group only if the sum then gets nearer to `wanted`: one very large lot must not use up the training parts.
        if len(taken) < room and have + parts_of[group] / 2 <= wanted:
            taken.add(group)
            have += parts_of[group]
    if have >= least or room < 1:
        return taken
    large_enough = [group for group in shuffled if parts_of[group] >= least]
    return {min(large_enough, key=lambda group: parts_of[group])} if large_enough else taken


def _by_time(ordered: list[Ref], window_s: float, share: float) -> tuple[list[Ref], list[Ref], list[Ref]]:
    runs = [list(run) for _, run in groupby(ordered, key=_group)]
    # Find the smallest share, in steps of 5 %, that gives enough windows for calibration.
    percent = 100 * share
    most = 100 * MOST_CALIBRATION_SHARE
    for percent_kept in [percent, *(percent + more for more in range(5, 80, 5) if percent + more <= most)]:
        blocks = [_blocks(run, percent_kept / 100, share, window_s) for run in runs]
        train, middle, calibration = ([ref for block in blocks for ref in block[i]] for i in range(3))
        if len(disjoint(calibration, window_s)) >= LEAST_CALIBRATION_PARTS:
            return train, middle, calibration
    found = len(disjoint(ordered, window_s))
    raise DataError(
        f"expected at least {LEAST_CALIBRATION_PARTS} windows for calibration that share no row, and more for training, got "
        f"{found} windows of {window_s:g} s in total, in {len(runs)} {'run' if len(runs) == 1 else 'runs'}. Record longer, or "
        "use shorter windows."
    )


def _blocks(
    run: list[Ref], calibration_share: float, wanted_share: float, window_s: float
) -> tuple[list[Ref], list[Ref], list[Ref]]:
    """Split one run in time order into training, validation and calibration. A border is the end of a window.

    If calibration gets more than the wanted share, training and validation shrink in proportion.
    """
    train_share = (1 - calibration_share) * (1 - wanted_share - VALIDATION_SHARE) / (1 - wanted_share)
    first = _end(run[min(len(run) - 1, round(len(run) * train_share))])
    second = _end(run[min(len(run) - 1, round(len(run) * (1 - calibration_share)))])
    gap = window_s * (1 - 5e-7)
    train = [ref for ref in run if _end(ref) <= first - gap]
    middle = [ref for ref in run if first + gap <= _end(ref) <= second - gap]
    calibration = [ref for ref in run if _end(ref) >= second + gap]
    return train, middle, calibration


def _before(ordered: list[Ref], calibration: list[Ref], window_s: float) -> list[Ref]:
    """Return all windows that are at least one window length before the calibration block of their run."""
    start = {group: _end(next(run)) for group, run in groupby(calibration, key=_group)}
    gap = 2 * window_s * (1 - 5e-7)
    return [ref for ref in ordered if _end(ref) <= start.get(ref.group, math.inf) - gap]


def _check(refs: Sequence[Ref], window_s: float | None) -> None:
    twice = [key for key, times in Counter(ref.key for ref in refs).items() if times > 1]
    if twice:
        raise DataError(f"keys: expected each key once, got {twice[0]!r} more than once ({len(twice)} such keys).")
    group_of: dict[str, str] = {}
    for ref in refs:
        known = group_of.setdefault(ref.part, ref.group)
        if known != ref.group:
            raise DataError(
                f"part {ref.part!r}: expected it in one group, got it in {known!r} and {ref.group!r}. Give parts of different "
                "groups different names, or change the groups so that all items of a part are in one group."
            )
    if window_s is None:
        return
    if not (math.isfinite(window_s) and window_s > 0):
        raise DataError(f"window_s: expected a window length above 0 s, got {window_s!r}.")
    for ref in refs:
        if ref.time_s is None or not math.isfinite(ref.time_s):
            raise DataError(f"{ref.key}: expected the time at which the window ends, got {ref.time_s!r}.")


def _too_few(
    ordered: list[Ref], window_s: float | None, train: list[Ref], middle: list[Ref], calibration: list[Ref]
) -> str:
    unit = "parts" if window_s is None else "windows"
    return (
        f"expected enough good {unit} for training, validation and calibration, got {len(ordered)}: {len(train)} for "
        f"training, {len(middle)} for validation and {len(calibration)} for calibration. Groups are not divided, and {unit} at "
        f"a border in time are left out. Collect more {unit}."
    )


def _position(ref: Ref) -> tuple[str, float, str]:
    return ref.group, ref.time_s if ref.time_s is not None else 0.0, ref.key


def _group(ref: Ref) -> str:
    return ref.group


def _end(ref: Ref) -> float:
    return ref.time_s if ref.time_s is not None else 0.0


def _keys(refs: Iterable[Ref]) -> tuple[str, ...]:
    return tuple(ref.key for ref in refs)
