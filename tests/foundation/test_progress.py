"""Progress: a line on terminals, nothing elsewhere."""

import io

import pytest

from andon.foundation.progress import ProgressLine, silent, track


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_written_where_nobody_looks() -> None:
    stream = io.StringIO()

    ProgressLine(stream)("scoring", 1, 2)

    assert stream.getvalue() == ""


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
