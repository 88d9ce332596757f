"""Check whether a frame shows the part as the camera should: not black, over-exposed, torn, smeared, blurred, frozen or resized.

`measure` computes statistics of a frame, and `step` compares them with limits. Neither has a clock or reads files. The statistics
have the names and units of `andon.runtime.calibration_facts.FrameHealth`, so that a model file can hold their quantiles over good
parts. `limits_of` turns these quantiles into limits.

Statistics use the green channel of a colour frame. Levels and differences use every 4th pixel of every 4th row. Rows are compared
with every 4th column. Sharpness needs neighbouring pixels, and uses three crops at full resolution.

Good pictures of some parts have edges that look torn, white backgrounds, or little detail. Without quantiles of good parts,
these checks are off: torn, the share of white pixels, and sharpness. For example, 209 good pictures of bottles
have 35 % white pixels, and 147 of them have a jump between two rows above 3.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta, Struct, structs
from numpy.typing import NDArray

from andon.runtime.calibration_facts import FrameHealth
from andon.runtime.schema import Reason

_STRIDE = 4
_BAND = 16
"""Rows of a band, in pixels of the frame."""
_CROP = (270, 480)
_NEIGHBOURS = 33
"""Number of row differences around a row that its jump is compared with."""
_FLOOR = 0.25
"""Grey levels that are added to row differences, so that a smooth picture without noise does not divide by zero."""
_WHITE = 250
"""Lowest level within 2 % of the highest one."""

Level = Annotated[float, Meta(ge=0.0, le=255.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class FrameStatistics(Struct, frozen=True, kw_only=True):
    """Statistics of one frame, in grey levels from 0 to 255 and in shares from 0 to 1."""

    shape: tuple[int, ...]
    """Height, width and channels."""
    low: float
    """1 % quantile of the levels."""
    high: float
    """99 % quantile of the levels."""
    overexposed: float
    """Share of pixels of level 250 or more."""
    contrast: float
    """Standard deviation of the levels."""
    row_jump: float
    """Largest mean difference between two neighbouring rows, relative to the median of the rows around them."""
    repeated_rows: float
    """Share of rows, without the first, that equal the row above.

    Rows of one level do not count, because plain backgrounds have them, too."""
    repeated_run: int = 0
    """Largest number of such rows that follow each other. Encoders repeat single rows of smooth scenes."""
    sharpness: float | None = None
    """Variance of the Laplacian, median of the crops. None if it was not measured."""
    difference: float | None = None
    """Mean absolute difference from the frame before. None without a frame before of the same shape."""
    still_bands: tuple[bool, ...] = ()
    """For each band of 16 rows: whether it equals that of the frame before. A band of one level never counts as still."""


class HealthLimits(Struct, frozen=True, kw_only=True):
    """Limits of the statistics. None switches a check off."""

    black: Level | None = 16.0
    """Black if `FrameStatistics.high` is below."""
    overexposed: Share | None = None
    """Over-exposed if the share is above. It depends on the background, so that there is no default."""
    bright: Level | None = 200.0
    """Over-exposed if `FrameStatistics.low` is above."""
    contrast: Level | None = None
    """No contrast if the standard deviation is below. Off, because the graph of a model file checks its own limit."""
    torn: Annotated[float, Meta(ge=1.0)] | None = None
    """Torn if `FrameStatistics.row_jump` is above. It depends on the part, so that there is no default."""
    smeared: Share | None = 0.05
    """Smeared if the longest run of repeated rows, as a share of the rows, is above, and has at least 16 rows.

    Small pictures often repeat some rows, and encoders repeat rows of smooth scenes."""
    sharpness: Annotated[float, Meta(ge=0.0)] | None = None
    """Blurred if the sharpness is below. It depends on the part, so that there is no default."""
    blurred_of: Annotated[int, Meta(ge=1)] = 10
    """Number of last frames that are compared with `blurred_frames`."""
    blurred_frames: Annotated[int, Meta(ge=1)] = 5
    """Number of frames that must lack sharpness, because a part that moves blurs single frames."""
    still: Annotated[float, Meta(ge=0.0)] | None = None
    """A frame repeats the one before if its difference is below, or exactly 0. For live sources, see `live_limits`."""
    frozen_s: Annotated[float, Meta(ge=0.0)] = 1.0
    """Shortest time of repeated frames that is frozen."""
    frozen_frames: Annotated[int, Meta(ge=1)] = 10
    """Smallest number of repeated frames that is frozen."""
    partly_frozen_s: Annotated[float, Meta(ge=0.0)] | None = None
    """Time of still bands in a moving frame that is partly frozen. For live sources. See `live_limits`."""
    resized: bool = False
    """Compare the shape with that of the first frame. For live sources, see `live_limits`."""


class HealthState(Struct, frozen=True, kw_only=True):
    """State of the checks: facts about earlier frames, as plain data for JSON."""

    shape: tuple[int, ...] | None = None
    """Shape of the first frame."""
    unsharp: tuple[bool, ...] = ()
    """The last frames, oldest first: whether each lacked sharpness."""
    repeats: int = 0
    """Number of frames in a row that repeat the one before."""
    band_repeats: tuple[int, ...] = ()
    """The same for each band."""
    still_since_s: float | None = None
    """Time of the frame that is repeated."""
    bands_since_s: tuple[float, ...] = ()
    """The same for each band."""
    now_s: float | None = None
    """Time of the frame before."""


class Finding(Struct, frozen=True, kw_only=True):
    """One problem of a frame."""

    reason: Reason
    detail: str
    """The measured value and the limit, as readable text."""


class Sample(NamedTuple):
    """The pixels of a frame that the next frame is compared with. Not part of the state, because it is not plain data."""

    shape: tuple[int, ...]
    levels: NDArray[np.uint8]


def live_limits(limits: HealthLimits, health: FrameHealth | None = None) -> HealthLimits:
    """Return the limits with the checks that need a live source: frozen, partly frozen and resized.

    A replayed file may repeat frames, and a folder may hold frames of several sizes.

    The limit of a repeated frame, 0.01 grey levels, is below what sensor noise leaves after an encoder, and above what an encoder
    changes in a scene without noise. Good frames that differ less lower the limit. Good frames that differ more do not raise it,
    because they can show different parts. Partly frozen needs ten seconds, because encoders can repeat bands of a still scene
    until the next key frame.
    """
    known = health.difference if health is not None else None
    still = 0.01 if known is None else min(0.01, known.q01 / 5)
    return structs.replace(limits, still=still, partly_frozen_s=10.0, resized=True)


def limits_of(health: FrameHealth | None) -> HealthLimits:
    """Return the limits for a model file. A statistic that was not measured on good parts keeps its default.

    Each limit leaves a margin beyond the 1 % or 99 % quantile of the good parts.
    """
    default = HealthLimits()
    if health is None:
        return default
    changes: dict[str, float] = {}
    if health.high is not None:
        changes["black"] = min(16.0, health.high.q01 / 2)
    if health.overexposed is not None:
        changes["overexposed"] = min(1.0, max(0.25, 3 * health.overexposed.q99))
    if health.low is not None:
        changes["bright"] = max(200.0, (255.0 + health.low.q99) / 2)
    if health.contrast is not None:
        changes["contrast"] = min(2.0, health.contrast.q01 / 2)
    if health.row_jump is not None:
        changes["torn"] = max(3.0, 1.5 * health.row_jump.q99)
    if health.repeated_rows is not None:
        changes["smeared"] = min(1.0, 0.05 + health.repeated_rows.q99)
    if health.sharpness is not None:
        changes["sharpness"] = 0.5 * health.sharpness.q01
    return structs.replace(default, **changes)


def measure(
    frame: NDArray[np.uint8], before: Sample | None = None, *, sharpness: bool = True
) -> tuple[FrameStatistics, Sample]:
    """Return the statistics of a frame, and the sample that the next frame is compared with.

    Args:
        frame: ``[H, W, C]``, RGB for C = 3, grey for C = 1.
        before: the sample of the frame before. A sample of another shape is ignored.
        sharpness: measure the sharpness, too. It takes about a third of the time.

    Raises:
        ValueError: the frame has another type or number of axes, or no pixels.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.size == 0:
        raise ValueError(f"frame: expected uint8 [H, W, C] with pixels, got {frame.dtype} {list(frame.shape)}.")
    grey = frame[:, :, 1 if frame.shape[2] == 3 else 0]
    stride = _stride(grey)
    rows = np.ascontiguousarray(grey[:, ::stride])
    levels = np.ascontiguousarray(rows[::stride])
    numbers = np.bincount(levels.ravel(), minlength=256)
    below = np.cumsum(numbers)
    mean = float(numbers @ _LEVELS) / levels.size
    jumps = _distance(rows[1:], rows[:-1]).sum(axis=1, dtype=np.uint32)
    difference: float | None = None
    still: tuple[bool, ...] = ()
    if before is not None and before.shape == frame.shape:
        moved = _distance(levels, before.levels).sum(axis=1, dtype=np.uint32)
        difference = float(moved.sum()) / levels.size
        still = _still_bands(moved, levels, max(1, _BAND // stride))
    repeated = _repeated_rows(jumps, rows)
    statistics = FrameStatistics(
        shape=frame.shape,
        low=float(np.searchsorted(below, 0.01 * levels.size)),
        high=float(np.searchsorted(below, 0.99 * levels.size)),
        overexposed=float(numbers[_WHITE:].sum()) / levels.size,
        contrast=math.sqrt(float(numbers @ (_LEVELS - mean) ** 2) / levels.size),
        row_jump=_row_jump(jumps / rows.shape[1]),
        repeated_rows=int(repeated.sum()) / max(1, len(repeated)),
        repeated_run=_longest_run(repeated),
        sharpness=_sharpness(grey) if sharpness else None,
        difference=difference,
        still_bands=still,
    )
    return statistics, Sample(frame.shape, levels)


def step(
    state: HealthState, statistics: FrameStatistics, now_s: float, limits: HealthLimits
) -> tuple[HealthState, tuple[Finding, ...]]:
    """Return the state after one more frame, and its problems in the order of their importance. The first is the reason.

    Args:
        state: the state before.
        statistics: of the frame, from `measure`.
        now_s: monotonic time of the frame.
        limits: see `limits_of` and `live_limits`.
    """
    earlier_s = now_s if state.now_s is None else state.now_s
    shape = state.shape or statistics.shape
    repeats, still_since_s = 0, None
    difference = statistics.difference
    if limits.still is not None and difference is not None and (difference < limits.still or difference == 0.0):
        repeats = state.repeats + 1
        still_since_s = earlier_s if state.still_since_s is None else state.still_since_s
    band_repeats, bands_since_s = _repeated_bands(state, statistics, earlier_s, now_s)
    unsharp = state.unsharp
    if limits.sharpness is not None and statistics.sharpness is not None:
        unsharp = (*unsharp, statistics.sharpness < limits.sharpness)[-limits.blurred_of :]
    state = HealthState(
        shape=shape,
        unsharp=unsharp,
        repeats=repeats,
        band_repeats=band_repeats,
        still_since_s=still_since_s,
        bands_since_s=bands_since_s,
        now_s=now_s,
    )
    return state, tuple(_findings(state, statistics, now_s, limits))


def _findings(state: HealthState, seen: FrameStatistics, now_s: float, limits: HealthLimits) -> list[Finding]:
    findings: list[Finding] = []

    def add(reason: Reason, measured: str) -> None:
        findings.append(Finding(reason=reason, detail=f"{reason.text}: {measured}"))

    if limits.resized and seen.shape != state.shape:
        add(Reason.RESIZED, f"expected {_size(state.shape or ())}, got {_size(seen.shape)}")
    if state.still_since_s is not None:
        still_s = now_s - state.still_since_s
        if state.repeats >= limits.frozen_frames and still_s >= limits.frozen_s:
            add(Reason.FROZEN, f"{state.repeats} frames within {still_s:.1f} s")
    if limits.partly_frozen_s is not None and not state.repeats:
        ages_s = [
            now_s - since_s
            for repeats, since_s in zip(state.band_repeats, state.bands_since_s, strict=True)
            if repeats >= limits.frozen_frames
        ]
        number = sum(age_s >= limits.partly_frozen_s for age_s in ages_s)
        if 0 < number < len(state.band_repeats):
            add(
                Reason.PARTLY_FROZEN,
                f"{number} of {len(state.band_repeats)} bands of {_BAND} rows for {max(ages_s):.1f} s",
            )
    if limits.black is not None and seen.high < limits.black:
        add(Reason.BLACK, f"99 % of the pixels have a level of at most {seen.high:g} (limit {limits.black:g})")
    if limits.overexposed is not None and seen.overexposed > limits.overexposed:
        add(Reason.OVEREXPOSED, f"{seen.overexposed:.0%} of the pixels are white (limit {limits.overexposed:.0%})")
    elif limits.bright is not None and seen.low > limits.bright:
        add(Reason.OVEREXPOSED, f"99 % of the pixels have a level of at least {seen.low:g} (limit {limits.bright:g})")
    if limits.contrast is not None and seen.contrast < limits.contrast:
        add(Reason.NO_CONTRAST, f"standard deviation {seen.contrast:.2g} (limit {limits.contrast:g})")
    run = seen.repeated_run / max(1, seen.shape[0] - 1)
    if limits.smeared is not None and run > limits.smeared and seen.repeated_run >= _BAND:
        add(Reason.SMEARED, f"{run:.0%} of the rows (limit {limits.smeared:.0%})")
    # after smeared, because the last row before a smear can look torn
    if limits.torn is not None and seen.row_jump > limits.torn:
        add(
            Reason.TORN,
            f"a jump between two rows is {seen.row_jump:.1f} times as high as around it (limit {limits.torn:g})",
        )
    if sum(state.unsharp) >= limits.blurred_frames and state.unsharp[-1]:
        add(Reason.BLURRED, f"sharpness {seen.sharpness:.3g} (limit {limits.sharpness:.3g})")
    return findings


def _repeated_bands(
    state: HealthState, statistics: FrameStatistics, earlier_s: float, now_s: float
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return for each band the number of repeats in a row, and the time of the frame that is repeated."""
    still = statistics.still_bands
    if len(still) != len(state.band_repeats):
        return tuple(map(int, still)), (earlier_s,) * len(still)
    repeats = tuple(number + 1 if repeated else 0 for number, repeated in zip(state.band_repeats, still, strict=True))
    since_s = tuple(
        now_s if not number else earlier_s if number == 1 else old_s
        for number, old_s in zip(repeats, state.bands_since_s, strict=True)
    )
    return repeats, since_s


def _stride(grey: NDArray[np.uint8]) -> int:
    """Return the distance of sampled pixels. Small frames keep at least 128 rows and columns, or all."""
    shorter: int = min(grey.shape)
    return min(_STRIDE, max(1, shorter // 128))


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # without a wider type: a third of the time
    return np.maximum(one, other) - np.minimum(one, other)


def _still_bands(moved: NDArray[np.uint32], levels: NDArray[np.uint8], height: int) -> tuple[bool, ...]:
    starts = range(0, len(moved), height)
    sums = np.add.reduceat(moved, starts)
    return tuple(
        total == 0 and bool(np.ptp(levels[start : start + height]))
        for start, total in zip(starts, sums.tolist(), strict=True)
    )


def _row_jump(jumps: NDArray[np.float64]) -> float:
    """Return the largest difference relative to the median of the 33 around it (all, if there are fewer)."""
    if len(jumps) == 0:
        return 1.0
    width = min(_NEIGHBOURS, len(jumps))
    # medians at every 8th place: a median changes slowly, and this takes an eighth of the time
    places = np.lib.stride_tricks.sliding_window_view(jumps, width)[::8]
    medians = np.sort(places, axis=1)[:, width // 2]
    nearest = np.clip((np.arange(len(jumps)) - width // 2 + 4) // 8, 0, len(medians) - 1)
    return float(((jumps + _FLOOR) / (medians[nearest] + _FLOOR)).max())


def _repeated_rows(jumps: NDArray[np.uint32], rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for each row, without the first, whether it equals the row above and has more than one level."""
    repeated: NDArray[np.bool_] = jumps == 0
    if repeated.any():
        equal = rows[1:][repeated]
        repeated[repeated] = equal.max(axis=1) != equal.min(axis=1)
    return repeated


def _longest_run(flags: NDArray[np.bool_]) -> int:
    """Return the largest number of true values in a row."""
    others = np.flatnonzero(np.concatenate(([True], ~flags, [True])))
    return int(np.diff(others).max()) - 1


def _sharpness(grey: NDArray[np.uint8]) -> float | None:
    """Return the median over three crops, from the upper left to the lower right. None for a frame below 3 x 3 pixels."""
    height, width = grey.shape
    if height < 3 or width < 3:
        return None
    tall, wide = min(height, _CROP[0]), min(width, _CROP[1])
    values = []
    for quarter in (1, 2, 3):
        top, left = (height - tall) * quarter // 4, (width - wide) * quarter // 4
        # int16 holds the Laplacian of uint8 (-1020 to 1020), and takes half the time of float32
        crop = grey[top : top + tall, left : left + wide].astype(np.int16)
        laplacian = crop[:-2, 1:-1] + crop[2:, 1:-1]
        laplacian += crop[1:-1, :-2]
        laplacian += crop[1:-1, 2:]
        laplacian -= 4 * crop[1:-1, 1:-1]
        exact = laplacian.astype(np.float32)
        mean = float(exact.mean())
        values.append(float(np.vdot(exact, exact)) / exact.size - mean * mean)
    return max(0.0, sorted(values)[1])


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


_LEVELS = np.arange(256, dtype=np.float64)
