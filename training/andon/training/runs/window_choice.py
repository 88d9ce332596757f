"""Choose length, hop and period of the windows from a good log, and give the reasons.

Each of the three that the user leaves open follows from a rule:

period
    The distance of the rows. If each channel has a sample in some rows only, the distance of the samples of the fastest channel.

length
    32 rows. If a quarter of the channels repeat themselves after a common time (`andon.sources.series.cycle`), the smallest
    number of whole cycles of at least 32 rows. The mean of such a window does not depend on the point of the cycle at which it
    begins. Whole cycles that leave too few windows for a promise (50 for calibration) are used only if 32 rows leave too few as
    well. The length is at most a 48th of the rows: 30 % of the log are kept for calibration, and they must hold 14 windows
    that share no row. One more window is left out at each border. If the detector or the log cannot use that length, the next
    shorter one that both can use.

hop
    An eighth of the length.

Only the first 60 % of each run are searched for the cycle. A log that is split by time keeps the rest for validation and
calibration. On 22 logs that no setting was chosen on, a fixed 32 rows did as well as one cycle, and 16 rows did worse. On SKAB,
8 to 96 rows differ by less than .03 VUS-PR. On the simulated converter, whose faults last a cycle, one cycle finds weak faults
best. So the exact length seldom matters. It matters that no log is refused.
"""

import math
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.split import CALIBRATION_SHARE, LEAST_CALIBRATION_PARTS, disjoint, split
from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.runtime.items import Item
from andon.runtime.schema import InputSpec, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.cycle import Cycle, dominant_cycle
from andon.sources.series.grid import Grid
from andon.sources.series.log import Log
from andon.sources.series.windows import columns, cut, window_spec

AUTO: Literal["auto"] = "auto"
USUAL_ROWS = 32
"""Length of a window without a known cycle."""
LONGEST_ROWS = 256
"""Longest window that is chosen. A longer cycle is not covered, because a window of it would be slow to judge and to react."""
ROWS_PER_LENGTH = 48
"""Rows of a log per row of a window: 14 windows in 30 % of the rows, and two more for the borders."""
ROWS_PER_PROMISE = 170
"""Rows of a log per row of a window that leave 50 windows for calibration, the fewest that support a promise."""
SHORTEST_ROWS = 8
"""A window is not shorter for the sake of the rule above if the log can still be split."""
LEAST_VALIDATION = 2
"""Smallest number of windows for validation. Detectors that combine scores need as many (`andon.training.nets.surprise`)."""
HOPS = 8
"""Hops in the length of a window."""
LOOKED_AT = 0.6
"""Share of each run in which the cycle is looked for."""
MOST_STRETCHES = 50
"""Number of stretches in which the cycle is looked for. A folder may hold thousands of files."""

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|min|h)")


class Length(NamedTuple):
    """A length in rows or in seconds. Exactly one of them is given."""

    rows: int | None = None
    seconds: float | None = None


Wanted = Length | Literal["auto"] | None
"""A length, a choice from the log, or the detector's own setting (None)."""


class WindowRequest(Struct, frozen=True, kw_only=True):
    """Lengths that the user wants for the windows. None: the settings of the detector decide."""

    steps: Wanted = None
    hop: Wanted = None
    """None together with a `steps` that is not in rows: an eighth of the length."""
    period_s: float | Literal["auto"] | None = None
    """Distance of two rows of a window. None: the distance of the rows of the log, or ``auto`` if `steps` is ``auto``."""
    shorten: bool = False
    """Shorten the windows of the settings if the log is too short for them. For settings that are defaults."""

    @property
    def given(self) -> bool:
        """True if something must be found out from the log."""
        return any(one is not None for one in (self.steps, self.hop, self.period_s))


class WindowChoice(Struct, frozen=True, kw_only=True):
    """Length, hop and period of the windows, and the reasons."""

    steps: int
    hop: int
    period_s: float
    why: tuple[str, ...] = ()
    """One sentence for each of them that was chosen."""


Accepts = Callable[[int, int], InputSpec]
"""A function from steps and hop to the input of the detector. It raises `AndonError` for windows that the detector cannot use."""


def parse_length(text: str, flag: str) -> Wanted:
    """Read a length: rows, seconds such as ``2s`` or ``250ms``, or ``auto``.

    Raises:
        ConfigError: the text has another form, or the length is not positive.

    >>> parse_length("64", "--steps"), parse_length("250ms", "--steps").seconds, parse_length("auto", "--steps")
    (Length(rows=64, seconds=None), 0.25, 'auto')
    """
    text = text.strip().lower()
    if text == AUTO:
        return AUTO
    if re.fullmatch(r"\d{1,12}", text) and int(text):
        return Length(rows=int(text))
    seconds = _duration(text)
    if seconds is None:
        raise ConfigError(f"{flag}: expected rows (64), a time (2s, 250ms, 5min) or auto, got {text!r}.")
    return Length(seconds=seconds)


def parse_period(text: str) -> float | Literal["auto"]:
    """Read a period: a time such as ``100ms``, or ``auto``.

    Raises:
        ConfigError: the text has another form, or the time is not positive.
    """
    text = text.strip().lower()
    if text == AUTO:
        return AUTO
    seconds = _duration(text)
    if seconds is None:
        raise ConfigError(f"--period: expected a time (1s, 100ms) or auto, got {text!r}.")
    return seconds


def as_texts(request: WindowRequest) -> dict[str, str]:
    """Return the request as texts by name of the flag, as `parse_length` and `parse_period` read them.

    >>> as_texts(WindowRequest(steps="auto", period_s=0.5))
    {'steps': 'auto', 'period': '0.5s'}
    """
    given = {"steps": request.steps, "hop": request.hop, "period": request.period_s}
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Length | float | str) -> str:
    if isinstance(value, Length):
        return str(value.rows) if value.rows is not None else f"{value.seconds:g}s"
    return value if isinstance(value, str) else f"{value:g}s"


def choose_period(found: FoundLogs) -> tuple[float, str]:
    """Return the period of the points in seconds, and the reason."""
    periods = found.channel_periods_s
    known = [period for period in periods if period is not None]
    if known and len(known) == len(periods) and min(known) >= 1.5 * found.period_s:
        return min(known), "the distance of the samples of the fastest channel, because each row has only some channels"
    return found.period_s, "the median distance of the rows"


def choose_steps(rows: int, cycle: Cycle | None) -> tuple[int, str]:
    """Return the length of a window in rows, and the reason.

    Args:
        rows: number of good rows, on the grid of the windows.
        cycle: the dominant cycle, if there is one.
    """
    longest, promised = rows // ROWS_PER_LENGTH, rows // ROWS_PER_PROMISE
    steps, why = USUAL_ROWS, "no common cycle was found"
    if cycle is not None:
        whole = cycle.rows * math.ceil(USUAL_ROWS / cycle.rows)
        about = (
            f"{cycle.channels} channels repeat themselves after {cycle.rows} rows (autocorrelation {cycle.height:.2f})"
        )
        most = promised if promised >= USUAL_ROWS else longest
        if whole <= min(LONGEST_ROWS, most):
            cycles = whole // cycle.rows
            return whole, f"{about}: {cycles} cycle{'s' if cycles > 1 else ''}"
        why = f"{about}, too long for a window of this log" + (
            ": too few windows would be left for a promise" if whole <= min(LONGEST_ROWS, longest) else ""
        )
    if steps <= longest:
        return steps, why
    limit = f"at most a {ROWS_PER_LENGTH}th of the {rows} good rows, so that enough windows are left for calibration"
    # a multiple of 8 divides into the blocks of most detectors
    short = max(SHORTEST_ROWS, longest - longest % 8)
    return short, limit if short <= longest else f"{limit}, but at least {SHORTEST_ROWS}"


def choose(
    log: Log,
    request: WindowRequest,
    *,
    own: tuple[int, int],
    accepts: Callable[[Log], Accepts],
    validation: bool,
    share: float = CALIBRATION_SHARE,
) -> tuple[Log, WindowChoice]:
    """Return the windows for a log, and the log with the chosen period in its description.

    Args:
        log: the good rows.
        request: what the user wants.
        own: steps and hop in the detector's settings, for what the user leaves to them.
        accepts: a function from the log with its period to the function that checks a length.
        validation: whether the detector needs validation parts.
        share: share of the rows that is kept for calibration.

    Raises:
        ConfigError: a length or a period does not fit the log.
        DataError: no length of a window fits the log.
    """
    why = []
    period_s = request.period_s
    if period_s is None and request.steps == AUTO:
        period_s = AUTO
    if period_s == AUTO:
        period_s, reason = choose_period(log.found)
        why.append(f"period {shown_time(period_s)}: {reason}")
    if period_s is not None:
        if period_s < log.found.period_s / 1.5:
            raise ConfigError(
                f"--period: expected at least the distance of the rows, {shown_time(log.found.period_s)}, got "
                f"{shown_time(period_s)}. Points between the rows would only be interpolated."
            )
        log = msgspec.structs.replace(log, found=msgspec.structs.replace(log.found, grid_period_s=period_s))
    grid_s = log.found.grid_period_s or log.found.period_s
    hop = _fixed(request.hop, grid_s)
    usable = accepts(log)
    if request.steps == AUTO:
        points = _stretches(log)
        rows = sum(len(stretch) for stretch in points)
        looked_at = [stretch[: int(LOOKED_AT * len(stretch))] for stretch in points[:MOST_STRETCHES]]
        wanted, reason = choose_steps(rows, dominant_cycle([stretch for stretch in looked_at if len(stretch) > 8]))

        def spec_of(steps: int) -> InputSpec:
            return usable(steps, hop or max(1, steps // HOPS))

        steps = longest_usable(log, wanted, spec_of, validation=validation, share=share)
        if steps < wanted:
            reason += f". {wanted} rows are too long for this log or detector"
        why.append(f"steps {steps} ({shown_time(steps * grid_s)}): {reason}")
    else:
        steps = _fixed(request.steps, grid_s) or own[0]
        if isinstance(request.steps, Length) and request.steps.seconds is not None:
            why.append(f"steps {steps}: {shown_time(request.steps.seconds)} of rows {shown_time(grid_s)} apart")
    if hop is None:
        in_rows = isinstance(request.steps, Length) and request.steps.rows is not None
        if request.hop is None and (request.steps is None or in_rows):
            hop = own[1]
        else:
            hop = max(1, steps // HOPS)
            why.append(f"hop {hop} ({shown_time(hop * grid_s)}): an eighth of the length")
    elif isinstance(request.hop, Length) and request.hop.seconds is not None:
        why.append(f"hop {hop}: {shown_time(request.hop.seconds)} of rows {shown_time(grid_s)} apart")
    return log, WindowChoice(steps=steps, hop=hop, period_s=grid_s, why=tuple(why))


def longest_usable(
    log: Log, longest: int, spec_of: Callable[[int], InputSpec], *, validation: bool, share: float = CALIBRATION_SHARE
) -> int:
    """Return the longest window up to a length, in steps of a fifth, with which the log can be split.

    Args:
        log: the good rows.
        longest: the length to begin with.
        spec_of: a function from a length to the input of the detector. It raises `AndonError` if the detector cannot use it.
        validation: whether the detector needs validation parts.
        share: share of the rows that is kept for calibration.

    Raises:
        DataError: not even windows of one row work. The message is that of the shortest one.
    """
    steps = longest
    while True:
        try:
            spec = spec_of(steps)
            if isinstance(spec, WindowSpec):
                require_split(log, spec, validation=validation, share=share)
        except AndonError:
            if steps == 1:
                raise
            steps = max(1, min(steps - 1, steps * 4 // 5))
        else:
            return steps


def require_split(log: Log, spec: WindowSpec, *, validation: bool, share: float = CALIBRATION_SHARE) -> None:
    """Check that a log has enough windows for training, validation and calibration.

    Raises:
        DataError: it has too few.
    """
    windows = cut(log, spec)
    refs = [ref for ref in windows.refs if isinstance(windows.read(ref), Item)]
    window_s = spec.steps * spec.period_s
    used = split(refs, seed=0, validation=validation, window_s=window_s, calibration_share=share)
    if validation and len(used.validation) < LEAST_VALIDATION:
        raise DataError(
            f"expected at least {LEAST_VALIDATION} windows for validation, got {len(used.validation)} with windows of "
            f"{spec.steps} rows. Record longer, or use shorter windows."
        )
    kept = set(used.calibration)
    if len(disjoint([ref for ref in refs if ref.key in kept], window_s)) < LEAST_CALIBRATION_PARTS:
        raise DataError(
            f"expected at least {LEAST_CALIBRATION_PARTS} calibration windows that share no row, got fewer with windows of "
            f"{spec.steps} rows. Record longer, or use shorter windows."
        )


def _stretches(log: Log) -> list[NDArray[np.float32]]:
    """Return the points of each run that follow each other without a hole, ``[n, C]``, the longest first."""
    spec = window_spec(log.found, 1, 1)
    places = columns(log.found, spec)
    found: list[NDArray[np.float32]] = []
    for run in log.runs:
        grid = Grid(spec, lateness_s=math.inf)
        grid.push(run.times_s, run.values[:, places])
        points = grid.flush()
        whole = np.isfinite(points.values).all(axis=1)
        numbers, values = points.numbers[whole], points.values[whole]
        found.extend(np.split(values, np.flatnonzero(np.diff(numbers) != 1) + 1))
    return sorted((piece for piece in found if len(piece)), key=len, reverse=True)


def _fixed(wanted: Wanted, period_s: float) -> int | None:
    """Return a length in rows, or None if it is left open."""
    if not isinstance(wanted, Length):
        return None
    if wanted.rows is not None:
        return wanted.rows
    assert wanted.seconds is not None
    return max(1, round(wanted.seconds / period_s))


def _duration(text: str) -> float | None:
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    return seconds if 0.0 < seconds < math.inf else None


def shown_time(seconds: float) -> str:
    """Return a time in seconds, minutes or hours."""
    return (
        f"{seconds:.6g} s"
        if seconds < 600
        else f"{seconds / 60:.4g} min"
        if seconds < 36_000
        else f"{seconds / 3600:.4g} h"
    )
