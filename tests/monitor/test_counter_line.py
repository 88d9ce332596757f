"""The counters on stderr: renewed on a terminal, rare where piped, and no reason to fail."""

import io

from tests.sources.fake_clock import FakeClock

from andon.monitor.counter_line import CounterLine
from andon.monitor.counters import Counters, Dropped, count

THREE = count(Counters(), Dropped("busy", 3))
TEXT = "grabbed 3 = judged 0 + invalid 0 + dropped 3 (busy 3)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_where_it_is_piped_there_is_one_line_a_minute_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = CounterLine(stream, clock)
    for _ in range(1500):
        clock.sleep(0.1)
        shown(THREE)
    shown.finish(THREE, "2 lines lost")

    assert stream.getvalue() == f"andon: {TEXT}\n" * 2 + f"andon: {TEXT}; 2 lines lost\n"


def test_on_a_terminal_one_line_is_renewed_twice_a_second_and_stays_at_the_end() -> None:
    stream, clock = Terminal(), FakeClock()
    shown = CounterLine(stream, clock)
    for _ in range(40):
        clock.sleep(0.125)
        shown(THREE)
    shown.finish(THREE)

    assert stream.getvalue() == f"\r\x1b[2K{TEXT}" * 10 + f"\r\x1b[2Kandon: {TEXT}\n"


def test_a_stderr_that_is_gone_is_no_reason_to_stop() -> None:
    clock = FakeClock()
    shown = CounterLine(Broken(), clock)
    clock.sleep(100.0)

    shown(THREE)
    shown.finish(THREE)

    assert clock.mono_s() == 100.0


def test_a_stderr_that_was_closed_before_the_start_is_no_reason_to_stop() -> None:
    shown = CounterLine(None, FakeClock())

    shown(THREE)
    shown.finish(THREE)
