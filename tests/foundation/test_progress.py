"""Progress: a line on terminals, a line every half minute elsewhere."""

import io
import re

import pytest

from andon.foundation.console import StatusLine
from andon.foundation.progress import PIPED_EVERY_S, ProgressLine, silent, track


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_short_work_writes_nothing_into_a_pipe() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)

    line("scoring", 1, 2)
    line("scoring", 2, 2)

    assert stream.getvalue() == ""


def test_long_work_writes_a_line_into_a_pipe_every_half_minute() -> None:
    stream, now_s = io.StringIO(), [0.0]
    line = ProgressLine(line=StatusLine(stream, piped_every_s=PIPED_EVERY_S, now_s=lambda: now_s[0]))

    for done in range(1, 91):
        now_s[0] += 1.0
        line("scoring", done, 200)

    lines = stream.getvalue().splitlines()
    assert [re.search(r"(\d+)/200", text)[1] for text in lines] == ["30", "60", "90"]  # type: ignore[index]
    assert "\r" not in stream.getvalue()


def test_a_terminal_sees_how_far_it_is() -> None:
    stream = _Terminal()
    line = ProgressLine(stream)

    line("scoring", 1, 4)
    line("scoring", 4, 4)

    assert "1/4" in stream.getvalue()
    assert "[########################] 4/4" in stream.getvalue()


def test_the_line_is_renewed_at_most_ten_times_a_second() -> None:
    stream = _Terminal()
    line = ProgressLine(stream)

    for done in range(1000):
        line("scoring", done, None)

    assert stream.getvalue().count("\r") < 100


@pytest.mark.parametrize("total", [0, None])
def test_an_unknown_total_shows_the_count_alone(total: int | None) -> None:
    stream = _Terminal()

    ProgressLine(stream)("frames", 17, total)

    assert "17" in stream.getvalue()
    assert "/" not in stream.getvalue()


def test_tracked_items_pass_unchanged_and_are_counted() -> None:
    seen: list[tuple[str, int, int | None]] = []

    items = list(track("abc", lambda *told: seen.append(told), "letters"))

    assert items == ["a", "b", "c"]
    assert seen == [("letters", 1, 3), ("letters", 2, 3), ("letters", 3, 3)]


def test_what_has_no_length_is_tracked_without_a_total() -> None:
    assert list(track(iter("ab"), silent, "letters")) == ["a", "b"]
