"""Sets of epochs: their members, their form on the command line, and their form in the record of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.training.observers.epochs import (
    DECADES,
    NONE,
    TENTHS,
    Epochs,
    each,
    from_record,
    just,
    parse_epochs,
    to_record,
)


def within(epochs: Epochs, last: int) -> list[int]:
    return [epoch for epoch in range(1, last + 1) if epoch in epochs]


def test_epochs_are_listed_or_periodic_or_none() -> None:
    assert within(just(9, 2), 10) == [2, 9]
    assert within(each(5), 11) == [5, 10]
    assert within(each(1), 3) == [1, 2, 3]
    assert within(NONE, 100) == []


def test_pictures_usually_come_ever_further_apart() -> None:
    assert within(DECADES, 2000) == [1, 3, 10, 30, 100, 300, 1000]


@given(epoch=st.integers(1, 10**6))
def test_snapshots_are_usually_at_most_a_tenth_apart(epoch: int) -> None:
    assert any(later in TENTHS for later in range(epoch + 1, epoch + 2 + epoch // 10))


def test_only_periodic_epochs_get_the_first_one_added() -> None:
    assert within(each(5).with_first(), 11) == [1, 5, 10]
    assert within(just(2, 9).with_first(), 11) == [2, 9]
    assert not NONE.with_first()


@pytest.mark.parametrize(("epochs", "any_"), [(NONE, False), (just(3), True), (each(2), True), (DECADES, True)])
def test_a_set_is_true_where_it_holds_epochs(epochs: Epochs, any_: bool) -> None:
    assert bool(epochs) is any_


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("all", each(1)),
        ("every=5", each(5)),
        ("3,1", just(1, 3)),
        ("7", just(7)),
        (" 1, 2 ", just(1, 2)),
        ("none", NONE),
    ],
)
def test_the_command_line_writes_them_in_words_and_numbers(text: str, epochs: Epochs) -> None:
    assert parse_epochs(text) == epochs


@pytest.mark.parametrize("text", ["every=", "every=x", "each=5", "sometimes", "1,last", "", "1,", "-1", "²", "9" * 40])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected all, none, every=N, or a list of epochs"):
        parse_epochs(text)


def test_epochs_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"every: expected an integer from 1 \(each epoch\) to 1000000000, got 0"):
        parse_epochs("every=0")
    with pytest.raises(ConfigError, match="epoch: expected an integer from 1 to 1000000000, got 0"):
        parse_epochs("1,0")


@given(epochs=st.one_of(st.integers(1, 10**9).map(each), st.lists(st.integers(1, 10**9)).map(lambda all_: just(*all_))))
def test_a_record_gives_back_what_was_asked_for(epochs: Epochs) -> None:
    assert from_record(to_record(epochs)) == epochs


def test_a_record_says_nothing_where_nobody_asked() -> None:
    assert to_record(None) is None
    assert to_record(TENTHS) is None
    assert from_record(None) is None
