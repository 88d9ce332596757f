"""Check whether a frame shows the part as the camera should: not black, over-exposed, torn, smeared, blurred, frozen or resized.

`step` compares the statistics of a frame (`andon.runtime.frame_statistics`) with limits. It has no clock and reads no files. A
model file holds the quantiles of these statistics over its calibration parts, and `limits_of` turns them into limits.

Good pictures of some parts have edges that look torn, white backgrounds, or little detail. Without quantiles of good parts,
these checks are off: torn, the share of white pixels, and sharpness. For example, 209 good pictures of bottles
have 35 % white pixels, and 147 of them have a jump between two rows above 3.
"""

from typing import Annotated

from msgspec import Meta, Struct, structs

from andon.runtime.calibration_facts import FrameHealth
from andon.runtime.frame_statistics import BAND, FrameStatistics
from andon.runtime.schema import Reason

Level = Annotated[float, Meta(ge=0.0, le=255.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


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
                f"{number} of {len(state.band_repeats)} bands of {BAND} rows for {max(ages_s):.1f} s",
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
    if limits.smeared is not None and run > limits.smeared and seen.repeated_run >= BAND:
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


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
