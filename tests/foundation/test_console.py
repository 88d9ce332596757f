"""The status line: rewritten on a terminal, a line of its own elsewhere, and never a reason to fail."""

import io

import pytest

from andon.foundation.console import StatusLine

ERASE = "\r\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(Terminal):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_on_a_terminal_each_update_replaces_the_one_before() -> None:
    stream = Terminal()
    line = StatusLine(stream)

    line.update("one")
    line.update("two")

    assert stream.getvalue() == f"{ERASE}one{ERASE}two"


def test_a_line_that_stays_takes_the_place_of_the_status() -> None:
    stream = Terminal()
    line = StatusLine(stream)

    line.update("one")
    line.print("done")
    line.print("done again")

    assert stream.getvalue() == f"{ERASE}one{ERASE}done\ndone again\n"


def test_a_status_is_kept_or_cleared_once() -> None:
    stream = Terminal()
    line = StatusLine(stream)

    line.update("kept")
    line.keep()
    line.keep()
    line.update("cleared")
    line.clear()
    line.clear()

    assert stream.getvalue() == f"{ERASE}kept\n{ERASE}cleared{ERASE}"


def test_elsewhere_an_update_is_a_line_of_its_own_or_nothing() -> None:
    rare, never = io.StringIO(), io.StringIO()
    for line in (StatusLine(rare, piped_every_s=60.0), StatusLine(never)):
        line.update("one")
        line.clear()
        line.print("done")

    assert rare.getvalue() == "one\ndone\n"
    assert never.getvalue() == "done\n"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(Terminal(), [0.5, 1.0, 1.5, 2.0]), (io.StringIO(), [2.0])],
    ids=["terminal", "piped"],
)
def test_an_update_is_due_after_the_period_of_the_stream(stream: io.StringIO, expected: list[float]) -> None:
    now = [0.0]
    line = StatusLine(stream, every_s=0.5, piped_every_s=2.0, now_s=lambda: now[0])
    due = []
    while now[0] < 2.0:
        now[0] += 0.25
        if line.due():
            due.append(now[0])
            line.update("x")

    assert due == expected


def test_without_a_period_elsewhere_nothing_is_ever_due() -> None:
    now = [0.0]
    line = StatusLine(io.StringIO(), now_s=lambda: now[0])
    now[0] = 1e9

    assert not line.due()


def closed() -> io.StringIO:
    stream = Terminal()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Gone(), closed()], ids=["none", "reader gone", "closed"])
def test_a_stream_that_is_gone_shows_nothing_and_raises_nothing(stream: io.StringIO | None) -> None:
    line = StatusLine(stream, piped_every_s=1.0)

    line.update("one")
    line.keep()
    line.update("two")
    line.clear()
    line.print("three")
