"""The health of a frame: each fault has its reason, and good frames of a camera have none."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray

from andon.calibration.good_health import frame_health
from andon.monitor.frame_health import (
    HealthLimits,
    HealthState,
    limits_of,
    live_limits,
    step,
)
from andon.runtime.calibration_facts import FrameHealth, Quantiles
from andon.runtime.frame_statistics import FrameStatistics, measure
from andon.runtime.schema import Reason

Frame = NDArray[np.uint8]
HEIGHT, WIDTH = 288, 352
STATISTICS = ("low", "high", "overexposed", "contrast", "sharpness", "row_jump", "repeated_rows")


def picture(seed: int = 0, noise: float = 2.0) -> Frame:
    """Return ``[288, 352, 3]`` of smooth waves and sensor noise. The waves are the same for each seed."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    scene = 110 + 40 * np.sin(rows / 23 + columns / 31) + 15 * np.sin(columns / 3.1 - rows / 7)
    grey = scene + noise * np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH))
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def quantiles_of(frames: list[Frame]) -> FrameHealth:
    """Return what a calibration writes about these good frames."""
    found = frame_health([measure(frame)[0] for frame in frames])
    assert found is not None
    return found


CALIBRATED = limits_of(quantiles_of([picture(seed) for seed in range(30)]))


def watch(
    frames: list[Frame], limits: HealthLimits = CALIBRATED, *, period_s: float = 0.04
) -> list[tuple[Reason, ...]]:
    """Return the reasons of each frame, in order. The state goes through JSON after each."""
    state, before, seen = HealthState(), None, []
    for number, frame in enumerate(frames):
        statistics, before = measure(frame, before)
        state, findings = step(state, statistics, number * period_s, limits)
        state = msgspec.json.decode(msgspec.json.encode(state), type=HealthState)
        seen.append(tuple(finding.reason for finding in findings))
    return seen


def test_frames_of_a_live_camera_with_noise_have_no_findings_for_a_minute() -> None:
    frames = [picture(seed) for seed in range(20)]
    limits = live_limits(CALIBRATED)

    assert set(watch([frames[number % 20] for number in range(120)], limits, period_s=0.5)) == {()}


def torn(frame: Frame) -> Frame:
    return np.concatenate([frame[:150], np.roll(frame[150:], 40, axis=1)])


def grey_below(frame: Frame) -> Frame:
    return np.concatenate([frame[:150], np.full_like(frame[150:], 128)])


def smeared(frame: Frame) -> Frame:
    return np.concatenate([frame[:200], np.repeat(frame[199:200], HEIGHT - 200, axis=0)])


# Complaint 10: after a reconnection the first frames are grey or smeared. Complaint 13: incomplete buffers.
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda frame: frame // 16, Reason.BLACK),
        (lambda frame: np.maximum(frame, 220), Reason.OVEREXPOSED),
        (lambda frame: np.where(np.arange(WIDTH)[:, None] < 100, 255, frame).astype(np.uint8), Reason.OVEREXPOSED),
        (lambda frame: (127 + frame // 128).astype(np.uint8), Reason.NO_CONTRAST),
        (torn, Reason.TORN),
        (grey_below, Reason.TORN),
        (smeared, Reason.SMEARED),
    ],
)
def test_a_faulty_frame_is_found_at_once_with_its_reason(fault: Callable[[Frame], Frame], reason: Reason) -> None:
    good, bad = picture(1), fault(picture(2))

    assert [found[:1] for found in watch([good, bad, good])] == [(), (reason,), ()]


def test_without_statistics_of_good_parts_only_checks_that_do_not_depend_on_the_part_are_on() -> None:
    limits = limits_of(None)
    frames = [torn(picture()), np.where(np.arange(WIDTH)[:, None] < 300, 255, picture()).astype(np.uint8)]

    assert watch(frames, limits) == [(), ()]
    assert watch([picture() // 16, smeared(picture())], limits) == [(Reason.BLACK,), (Reason.SMEARED,)]


def test_a_dark_field_picture_is_not_black_where_good_parts_are_as_dark() -> None:
    dark = picture() // 16
    limits = limits_of(quantiles_of([dark, *(picture(seed) // 16 for seed in range(1, 30))]))

    assert watch([dark], limits) == [()]


def test_plain_backgrounds_and_small_pictures_are_not_smeared() -> None:
    bar = picture()
    bar[:120] = 7
    digit = np.zeros((28, 28, 1), np.uint8)
    digit[4:24, 12:16] = 255

    assert watch([bar], limits_of(None)) == [()]
    assert watch([digit[8:20]], limits_of(None)) == [()]


def test_an_encoder_that_repeats_rows_of_a_smooth_scene_does_not_smear_it() -> None:
    frame = picture()
    for row in range(0, HEIGHT, 8):
        frame[row : row + 8] = frame[row]

    statistics, _ = measure(frame)
    assert statistics.repeated_rows > 0.8
    assert statistics.repeated_run == 7
    assert watch([frame], limits_of(None)) == [()]


def blurred(frame: Frame) -> Frame:
    wide = frame.astype(np.float64)
    for axis in (0, 1):
        wide = np.mean([np.roll(wide, shift, axis=axis) for shift in range(-2, 3)], axis=0)
    return wide.astype(np.uint8)


def test_five_blurred_frames_of_ten_are_needed_and_a_sharp_frame_is_never_blurred() -> None:
    sharp, soft = picture(), blurred(picture())
    seen = watch([soft] * 4 + [sharp, soft, sharp] + [sharp] * 4 + [soft])

    assert seen == [()] * 5 + [(Reason.BLURRED,)] + [()] * 6


# Complaint 3: the page shows the last picture for two hours as if it were live.
def test_a_repeated_frame_of_a_live_camera_is_frozen_after_ten_frames_and_a_second() -> None:
    limits = live_limits(limits_of(None))
    frames = [picture(1), *[picture(2)] * 40, picture(3), picture(4)]
    fast, slow = watch(frames, limits, period_s=0.04), watch(frames, limits, period_s=0.5)

    assert fast.index((Reason.FROZEN,)) == 1 + 25
    assert slow.index((Reason.FROZEN,)) == 1 + 10
    assert fast[-3:] == slow[-3:] == [(Reason.FROZEN,), (), ()]


def test_a_frozen_encoder_that_still_changes_single_pixels_is_found_and_weak_noise_is_not_frozen() -> None:
    limits = live_limits(limits_of(None))
    encoder = []
    for number in range(40):
        frame = picture(2)
        frame[4 * (number % 50), :40] ^= 1
        encoder.append(frame)

    assert watch(encoder, limits)[-1] == (Reason.FROZEN,)
    assert set(watch([picture(seed, noise=0.5) for seed in range(40)], limits)) == {()}


def test_a_replayed_file_may_repeat_frames_and_change_its_size() -> None:
    assert set(watch([*[picture(1)] * 60, picture(1)[:200]], limits_of(None))) == {()}


def test_good_frames_that_differ_little_lower_the_limit_for_frozen_and_others_do_not_raise_it() -> None:
    def still(q01: float) -> float | None:
        health = FrameHealth(n=9, difference=Quantiles(q01=q01, q50=q01, q99=q01))
        return live_limits(HealthLimits(), health).still

    assert (still(0.02), still(10.0), live_limits(HealthLimits()).still) == (0.004, 0.01, 0.01)


def test_a_band_that_repeats_for_ten_seconds_in_a_moving_picture_is_partly_frozen() -> None:
    limits = live_limits(limits_of(None))
    frames = []
    for seed in range(30):
        frame = picture(seed)
        frame[64:128] = picture(99)[64:128]
        frames.append(frame)
    seen = watch([*frames, picture(50), picture(51)], limits, period_s=0.5)

    assert seen == [()] * 20 + [(Reason.PARTLY_FROZEN,)] * 10 + [()] * 2


def test_a_black_bar_in_a_live_picture_is_not_partly_frozen() -> None:
    frames = []
    for seed in range(30):
        frame = picture(seed)
        frame[:48] = 0
        frames.append(frame)

    assert set(watch(frames, live_limits(limits_of(None)), period_s=0.5)) == {()}


def test_another_size_than_that_of_the_first_frame_is_resized_until_it_returns() -> None:
    limits = live_limits(limits_of(None))
    small = picture(1)[:200, :200]

    assert watch([picture(1), small, small[:, :, :1], picture(2)], limits) == [
        (),
        (Reason.RESIZED,),
        (Reason.RESIZED,),
        (),
    ]


def test_the_first_finding_is_the_most_basic_one_and_the_others_are_listed_with_their_numbers() -> None:
    statistics, _ = measure(np.full((32, 48, 1), 3, np.uint8))
    _, findings = step(HealthState(shape=(32, 32, 1)), statistics, 0.0, HealthLimits(resized=True, contrast=2.0))

    assert [finding.reason for finding in findings] == [Reason.RESIZED, Reason.BLACK, Reason.NO_CONTRAST]
    assert findings[0].detail.endswith(": expected 32 x 32 x 1, got 32 x 48 x 1")
    assert findings[1].detail.endswith(": 99 % of the pixels have a level of at most 3 (limit 16)")


spreads = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(st.fixed_dictionaries(dict.fromkeys((*STATISTICS, "difference"), spreads)), st.data())
def test_a_frame_within_the_range_of_good_frames_is_healthy_whatever_these_are(
    drawn: dict[str, list[float]], data: st.DataObject
) -> None:
    largest = {"low": 255, "high": 255, "contrast": 128, "sharpness": 1e5, "row_jump": 50, "difference": 100}
    ranges = {name: [largest.get(name, 1) * value for value in values] for name, values in drawn.items()}
    health = FrameHealth(n=100, **{name: Quantiles(q01=a, q50=b, q99=c) for name, (a, b, c) in ranges.items()})
    limits = live_limits(limits_of(health), health)
    state = HealthState()
    for number in range(15):
        values: dict[str, Any] = {name: data.draw(st.floats(low, high)) for name, (low, _, high) in ranges.items()}
        # good frames of a live camera are never equal
        values["difference"] = max(values["difference"], 1e-6)
        state, findings = step(state, FrameStatistics(shape=(99, 99, 1), **values), float(number), limits)
        assert findings == ()


def test_limits_can_be_changed_one_by_one() -> None:
    assert watch([picture() // 16], structs.replace(limits_of(None), black=None)) == [()]
