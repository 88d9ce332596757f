"""Foreign text on a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.printable import printable, without_controls


@given(st.text(st.characters(codec=None)))
def test_no_text_can_command_a_terminal_or_start_a_new_line(text: str) -> None:
    shown = printable(text)

    assert all(character == " " or character.isprintable() for character in shown)
    assert len(shown) <= 300


@pytest.mark.parametrize("text", ["part 7.png", "Flasche-\u00fc\u00df.png", "\u74f6\u5b50 03"])
def test_names_in_any_script_stay_readable(text: str) -> None:
    assert printable(text) == text


def test_escape_sequences_direction_marks_and_surrogates_are_written_out() -> None:
    assert printable("\x1b[2J\u202e\udcff\n") == r"\x1b[2J\u202e\udcff\n"


def test_a_long_text_is_cut() -> None:
    assert printable("a" * 1_000_000, limit=10) == "a" * 9 + "\u2026"


@given(st.text(st.characters(codec=None)))
def test_a_text_for_pages_keeps_its_length_and_can_be_encoded(text: str) -> None:
    shown = without_controls(text)

    assert len(shown) == len(text)
    assert not set(shown) & set("\x00\x1b\n\u202e")
    shown.encode()


def test_what_joins_letters_stays_in_a_text_for_pages() -> None:
    assert without_controls("👩\u200d🔧 bolt") == "👩\u200d🔧 bolt"
