"""Names in pictures."""

from hypothesis import given
from hypothesis import strategies as st

from andon.drawing.labels import MOST_LETTERS, caption, fitting, plain, short, shortened


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("patchcore --preset fast --size 224", 20) == "patchcor… --size 224"
    assert shortened("patchcore", 9) == "patchcore"


@given(text=st.text(max_size=40), most=st.integers(1, 50))
def test_a_shortened_name_is_no_longer_than_asked(text: str, most: int) -> None:
    assert len(shortened(text, most)) <= most
    assert len(short(text)) <= MOST_LETTERS


@given(text=st.text(max_size=40), most=st.integers(1, 50))
def test_a_fitting_text_fits_and_is_a_beginning(text: str, most: int) -> None:
    found = fitting(text, len, most)

    assert len(found) <= most
    assert found == text or found.endswith("…") or "\ufffd" in found


def test_a_name_is_no_formula_and_cannot_turn_the_text_around_it() -> None:
    hostile = "a$b$\u202e\x1b[2J"

    for made in (plain(hostile, 40), caption(hostile, 40)):
        assert made == "a\\$b\\$\ufffd\ufffd[2J"
    assert short(hostile) == fitting(hostile, len, 40) == "a$b$\ufffd\ufffd[2J"


def test_a_caption_keeps_its_lines_and_a_plain_text_is_broken_between_words() -> None:
    assert caption("scratch 001.png\nwatched", 9) == "scra….png\nwatched"
    assert plain("one part of many", 8) == "one part\nof many"
