"""Good parts are split once, before anything looks at them: train 60, validation 10, calibration 30 %, unless told otherwise.

A calibration part must be new to the model, and so must everything that resembles it: all frames of a part and all
parts of a group stay together. Windows of a few long runs have no groups to speak of; there the split is by disjoint
blocks of time with a gap of one window at each border, so that no row of a log is on two sides.

The split depends on the references and the seed only, never on their order. The calibration part does not depend on
whether a detector wants a validation part.
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
"""More would leave too little to learn from."""
LEAST_CALIBRATION_PARTS = 14
"""Fewer carry no promise at all: 14 good parts are what 20 % at 95 % confidence needs."""
LEAST_GROUPS = 20
"""Windows of fewer runs than this are split by time within each run."""


class Split(Struct, frozen=True, kw_only=True):
    """Keys by what they are for, sorted by group, time and key. No key has two uses; some may have none."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    """Empty where the detector needs none; its parts are then trained on."""
    calibration: tuple[str, ...]


def split(
    refs: Sequence[Ref],
    *,
    seed: int,
    validation: bool = True,
    window_s: float | None = None,
    calibration_share: float = CALIBRATION_SHARE,
) -> Split:
    """Split good items, by group or, for windows of fewer than 20 runs, by time within each run.

    By group: whole groups, shuffled by the seed, until 30 % of the *parts* (at least 14) are for calibration and 10 %
    for validation. By time: in each run the first 60 % of windows train, the next 10 % validate, the last 30 %
    calibrate (more, where that is needed for 14 disjoint windows); windows that end within `window_s` of a border are
    left out. With another `calibration_share` 10 % still validate, and the rest trains.

    Args:
        refs: good items. For windows, `group` is the run and `time_s` the end of the window.
        seed: shuffles groups; a split by time does not depend on it.
        validation: whether the detector needs a validation part; if not, it trains on those parts too.
        window_s: length of a window in seconds, > 0; None for frames.
        calibration_share: of the parts, held back for calibration; above 0, at most 0.8.

    Raises:
        ConfigError: a share outside of that.
        DataError: too few parts or groups, a key twice, a part in two groups, or windows without a time.
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
            # Nothing separates training from itself: the windows at that border come back.
            train = _before(ordered, calibration, window_s)
        else:
            train = sorted(train + middle, key=_position)
        middle = []
    if not train or (validation and not middle):
        raise DataError(_too_few(ordered, window_s, train, middle, calibration))
    return Split(train=_keys(train), validation=_keys(middle), calibration=_keys(calibration))


def require_share(calibration_share: float) -> None:
    """Refuse a share of parts for calibration that leaves nothing to calibrate on, or too little to learn from.

    Raises:
        ConfigError: it is not above 0 and at most 0.8.
    """
    if not 0 < calibration_share <= MOST_CALIBRATION_SHARE:
        raise ConfigError(
            f"--calibration-share: expected a share of the good parts above 0 and at most {MOST_CALIBRATION_SHARE:g}, such as "
            f"{CALIBRATION_SHARE:g}, got {calibration_share:g}."
        )


def calibration_count(total: int, share: float) -> int:
    """Count what `split` keeps back of so many good parts, each a group of its own; 0 where they cannot be split.

    >>> calibration_count(60, 0.3), calibration_count(20, 0.3)
    (18, 14)
    """
    if total < LEAST_CALIBRATION_PARTS + 2:
        return 0
    return min(total - 2, math.floor(max(share * total, LEAST_CALIBRATION_PARTS) + 0.5))


def total_for(need: int, share: float) -> int:
    """Return the fewest good parts, each a group of its own, of which `split` keeps back at least `need`.

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
    """Return the smallest share, in hundredths, with which `split` keeps back at least `need` of `total`; None above 0.8.

    >>> share_for(149, 191), share_for(149, 60)
    (0.78, None)
    """
    shares = (percent / 100 for percent in range(1, round(100 * MOST_CALIBRATION_SHARE) + 1))
    return next((share for share in shares if calibration_count(total, share) >= need), None)


def disjoint(refs: Iterable[Ref], window_s: float) -> list[Ref]:
    """Windows of each run that share no row: the first, then each ending at least `window_s` after the one before.

    Sorted by group and time. Overlapping windows of a calibration part say little more than disjoint ones.

    Args:
        refs: windows, `time_s` their end.
        window_s: length of a window in seconds.
    """
    kept: list[Ref] = []
    for _, run in groupby(sorted(refs, key=_position), key=_group):
        last = -math.inf
        for ref in run:
            # Half a part in a million: times are sums of periods, and a window next door must not fall to rounding.
            if _end(ref) - last >= window_s * (1 - 5e-7):
                kept.append(ref)
                last = _end(ref)
    return kept


def _by_group(ordered: list[Ref], seed: int, validation: bool, share: float) -> tuple[list[Ref], list[Ref], list[Ref]]:
    parts_of = {group: len({ref.part for ref in members}) for group, members in groupby(ordered, key=_group)}
    total = sum(parts_of.values())
    sides = 3 if validation else 2
    if len(parts_of) < sides or total < LEAST_CALIBRATION_PARTS + sides - 1:
        if len(parts_of) == total:  # nothing was grouped, so nothing is to be said of groups
            raise DataError(
                f"expected at least {LEAST_CALIBRATION_PARTS + sides - 1} good parts ({LEAST_CALIBRATION_PARTS} are the fewest "
                f"to calibrate on, and some must be left to learn from), got {total}. Collect more."
            )
        raise DataError(
            f"expected at least {LEAST_CALIBRATION_PARTS + sides - 1} good parts in at least {sides} groups (groups "
            f"stay whole, and {LEAST_CALIBRATION_PARTS} parts are the fewest to calibrate on), got {total} parts in "
            f"{_groups(parts_of)}. Collect more, or group more finely; items of a long recording can be split by "
            "time if the length of a window is given."
        )
    shuffled = sorted(parts_of, key=lambda group: hashlib.sha256(f"{seed}\n{group}".encode()).digest())
    # Two groups are kept back even if only one is needed: the calibration part must not depend on `validation`.
    kept_back = 2 if len(parts_of) > 2 and total > LEAST_CALIBRATION_PARTS + 1 else 1
    calibration = _fill(shuffled, parts_of, share * total, LEAST_CALIBRATION_PARTS, kept_back)
    rest = [group for group in shuffled if group not in calibration]
    middle = _fill(rest, parts_of, VALIDATION_SHARE * total, 1, 1)
    have = sum(parts_of[group] for group in calibration)
    if have < LEAST_CALIBRATION_PARTS:
        raise DataError(
            f"expected groups of which some hold {LEAST_CALIBRATION_PARTS} good parts for calibration and others "
            f"remain to train on, got {total} parts in {_groups(parts_of)} of {min(parts_of.values())} to "
            f"{max(parts_of.values())} parts. Collect more, or group more finely."
        )

    def members(chosen: Callable[[str], bool]) -> list[Ref]:
        return [ref for ref in ordered if chosen(ref.group)]

    return (
        members(lambda group: group not in calibration and group not in middle),
        members(middle.__contains__),
        members(calibration.__contains__),
    )


def _groups(parts_of: dict[str, int]) -> str:
    return "1 group" if len(parts_of) == 1 else f"{len(parts_of)} groups"


def _fill(shuffled: list[str], parts_of: dict[str, int], wanted: float, least: int, kept_back: int) -> set[str]:
    """Groups, in shuffled order, that hold about `wanted` parts and, if that can be had, at least `least`.

    As many groups as `kept_back` are not taken.
    """
    wanted = max(wanted, least)
    room = len(shuffled) - kept_back
    chosen: set[str] = set()
    have = 0
    for group in shuffled:
        # A group is taken if the sum is then nearer: one giant lot must not swallow the training part.
        if len(chosen) < room and have + parts_of[group] / 2 <= wanted:
            chosen.add(group)
            have += parts_of[group]
    if have >= least or room < 1:
        return chosen
    large_enough = [group for group in shuffled if parts_of[group] >= least]
    return {min(large_enough, key=lambda group: parts_of[group])} if large_enough else chosen


def _by_time(ordered: list[Ref], window_s: float, share: float) -> tuple[list[Ref], list[Ref], list[Ref]]:
    runs = [list(run) for _, run in groupby(ordered, key=_group)]
    # In steps of 5 %, the smallest share that leaves enough windows to calibrate on.
    percent = 100 * share
    for percent_kept in [percent, *(percent + more for more in range(5, 75, 5) if percent + more < 75)]:
        blocks = [_blocks(run, percent_kept / 100, share, window_s) for run in runs]
        train, middle, calibration = ([ref for block in blocks for ref in block[i]] for i in range(3))
        if len(disjoint(calibration, window_s)) >= LEAST_CALIBRATION_PARTS:
            return train, middle, calibration
    found = len(disjoint(ordered, window_s))
    raise DataError(
        f"expected at least {LEAST_CALIBRATION_PARTS} windows that share no row for calibration, besides those for "
        f"training, got {found} of {window_s:g} s in all, in {len(runs)} {'run' if len(runs) == 1 else 'runs'}. "
        "Record longer, or choose shorter windows."
    )


def _blocks(
    run: list[Ref], calibration_share: float, wanted_share: float, window_s: float
) -> tuple[list[Ref], list[Ref], list[Ref]]:
    """One run in time order: train, validation, calibration. A border is the end of a window.

    Where more is calibrated on than was wanted, training and validation give of theirs alike.
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
    """All windows with a gap of one window or more before the calibration block of their run."""
    start = {group: _end(next(run)) for group, run in groupby(calibration, key=_group)}
    gap = 2 * window_s * (1 - 5e-7)
    return [ref for ref in ordered if _end(ref) <= start.get(ref.group, math.inf) - gap]


def _check(refs: Sequence[Ref], window_s: float | None) -> None:
    twice = [key for key, times in Counter(ref.key for ref in refs).items() if times > 1]
    if twice:
        raise DataError(f"expected each key once, got {twice[0]!r} more than once ({len(twice)} such keys).")
    group_of: dict[str, str] = {}
    for ref in refs:
        known = group_of.setdefault(ref.part, ref.group)
        if known != ref.group:
            raise DataError(
                f"expected a part to lie in one group, got part {ref.part!r} in {known!r} and {ref.group!r}. "
                "Name parts so that they differ between groups, or groups so that a part is whole."
            )
    if window_s is None:
        return
    if not (math.isfinite(window_s) and window_s > 0):
        raise DataError(f"expected a window length above 0 s, got {window_s!r}.")
    for ref in refs:
        if ref.time_s is None or not math.isfinite(ref.time_s):
            raise DataError(f"{ref.key}: expected the time at which the window ends, got {ref.time_s!r}.")


def _too_few(
    ordered: list[Ref], window_s: float | None, train: list[Ref], middle: list[Ref], calibration: list[Ref]
) -> str:
    unit = "parts" if window_s is None else "windows"
    return (
        f"expected enough good {unit} for training, validation and calibration, got {len(ordered)}, of which "
        f"{len(train)} would train, {len(middle)} validate and {len(calibration)} calibrate (whole groups stay "
        f"together; {unit} at a border of time are left out). Collect more."
    )


def _position(ref: Ref) -> tuple[str, float, str]:
    return ref.group, ref.time_s if ref.time_s is not None else 0.0, ref.key


def _group(ref: Ref) -> str:
    return ref.group


def _end(ref: Ref) -> float:
    return ref.time_s if ref.time_s is not None else 0.0


def _keys(refs: Iterable[Ref]) -> tuple[str, ...]:
    return tuple(ref.key for ref in refs)
