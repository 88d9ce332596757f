"""Steps of clocks while samples arrive: no wrong window, at most INVALID with a reason, and windows again afterwards."""

import json
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.sources.fake_clock import FakeClock

from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, Reason, WindowSpec
from andon.sources.live.sample_stream import Sender, receive
from andon.sources.series.line_reader import Read

SPEC = WindowSpec(steps=10, hop=5, period_s=0.1, channels=(Channel(name="voltage"), Channel(name="current")))
SENDERS = [Sender("stdin", "standard input"), Sender("mqtt://broker/x", "mqtt://broker/x")]
WALL_S = 1.8e9
HOUR_S = 3600.0
YEARS_S = 10 * 365.25 * 86_400.0


class TwoClocks(FakeClock):
    """A monotonic clock that never steps, and a wall clock that a test sets."""

    def __init__(self) -> None:
        super().__init__(500.0)
        self.offset_s = WALL_S - 500.0

    def wall_s(self) -> float:
        return self.now_s + self.offset_s


def signal(time_s: float) -> list[float]:
    """Return the values at a time. Any window of other samples, or of samples in another order, differs."""
    return [round(time_s - WALL_S, 3), -round(time_s - WALL_S, 3)]


def items_of(
    sender: Sender, stamp: Callable[[TwoClocks, int], float], step: Callable[[TwoClocks], None], clock: TwoClocks
) -> list[Item | Lost]:
    """Send 400 samples, a tenth of a second apart. The step happens after 150 of them."""

    def reads() -> Iterator[Read]:
        for number in range(400):
            if number == 150:
                step(clock)
            line = json.dumps({"t": stamp(clock, number), "values": signal(stamp(clock, number))}).encode()
            yield Read((line,), len(line))
            clock.sleep(0.1)

    return list(receive(reads(), SPEC, sender, clock, threading.Event(), stale_after_s=2.0))


def own_clock(_clock: TwoClocks, number: int) -> float:
    """Return the stamp of a sender with a clock of its own, which does not step."""
    return WALL_S + number / 10


def same_clock(clock: TwoClocks, _number: int) -> float:
    """Return the stamp of a sender on the machine of the monitor."""
    return round(clock.wall_s(), 1)


def require_true_windows(items: list[Item | Lost]) -> None:
    for item in items:
        if isinstance(item, Item):
            assert item.ref.time_s is not None
            expected = [signal(item.ref.time_s - (9 - place) / 10) for place in range(10)]
            np.testing.assert_allclose(item.data, expected, rtol=1e-5, atol=0.02)
        else:
            assert item.reason is not Reason.NONE


# Complaint 22: a step of the clock corrupts order and time lines.
@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.key[:5])
@pytest.mark.parametrize("delta_s", [HOUR_S, -HOUR_S, YEARS_S])
def test_a_step_of_this_machines_wall_clock_disturbs_no_window_of_a_sender_with_its_own_clock(
    sender: Sender, delta_s: float
) -> None:
    def step(clock: TwoClocks) -> None:
        clock.offset_s += delta_s

    stepped = items_of(sender, own_clock, step, TwoClocks())
    plain = items_of(sender, own_clock, lambda _clock: None, TwoClocks())

    require_true_windows(stepped)
    assert [(item.ref, type(item)) for item in stepped] == [(item.ref, type(item)) for item in plain]
    assert sum(isinstance(item, Item) for item in plain) == 79


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.key[:5])
@pytest.mark.parametrize("delta_s", [HOUR_S, -HOUR_S, YEARS_S, 5.0, -5.0])
def test_a_step_of_the_senders_clock_is_a_gap_or_a_new_start_and_windows_come_again(
    sender: Sender, delta_s: float
) -> None:
    def step(clock: TwoClocks) -> None:
        clock.offset_s += delta_s

    items = items_of(sender, same_clock, step, TwoClocks())

    require_true_windows(items)
    lost = {item.reason for item in items if isinstance(item, Lost)}
    assert lost <= {Reason.WARMING, Reason.GAP, Reason.STALE}
    after = [item for item in items if isinstance(item, Item) and abs(item.ref.time_s - WALL_S - 15 - delta_s) < 25]  # type: ignore[operator]
    assert len(after) >= 40
    assert isinstance(items[-1], Item)


def test_a_sender_ahead_of_this_machine_is_invalid_until_this_machines_clock_is_set_right() -> None:
    clock = TwoClocks()
    clock.offset_s -= HOUR_S

    def step(clock: TwoClocks) -> None:
        clock.offset_s += HOUR_S

    items = items_of(SENDERS[0], own_clock, step, clock)

    require_true_windows(items)
    assert not any(isinstance(item, Item) and item.ref.time_s < WALL_S + 15 for item in items)  # type: ignore[operator]
    assert "ahead of this machine's clock" in next(item.detail for item in items if isinstance(item, Lost))
    assert isinstance(items[-1], Item)


# The monotonic clock stops while a machine is suspended, and the samples of that time are lost.
def test_a_suspended_machine_is_a_gap_and_the_stream_warms_up() -> None:
    lost_s = 60.0

    def step(clock: TwoClocks) -> None:
        clock.offset_s += lost_s

    items = items_of(
        SENDERS[0], lambda _clock, number: WALL_S + number / 10 + lost_s * (number >= 150), step, TwoClocks()
    )

    require_true_windows(items)
    reasons = [item.reason for item in items if isinstance(item, Lost)]
    assert reasons == [Reason.WARMING, Reason.GAP, Reason.WARMING]
