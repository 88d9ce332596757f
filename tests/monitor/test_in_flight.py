"""Only a beginning without a gap counts as delivered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.in_flight import InFlight
from andon.monitor.output import Message


def message(seq: int) -> Message:
    return Message(seq, "", b"", "", "")


@given(st.data())
def test_the_prefix_is_the_same_as_that_of_a_slow_reference(data: st.DataObject) -> None:
    numbers = sorted(data.draw(st.sets(st.integers(1, 1000), min_size=1, max_size=30)))
    flight, taken = InFlight(), 0
    for seq in numbers:
        flight.add(message(seq))
    finished: set[int] = set()
    for seq in data.draw(st.permutations(numbers)):
        assert flight.finish(seq)
        assert not flight.finish(seq)
        finished.add(seq)
        taken = flight.take_prefix() or taken

        first_open = next((one for one in numbers if one not in finished), 10_000)
        assert taken == max((one for one in numbers if one < first_open), default=0)
        assert len(flight) == sum(one > taken for one in numbers)


def test_a_number_that_is_not_higher_is_refused() -> None:
    flight = InFlight()
    flight.add(message(2))

    with pytest.raises(ValueError, match="message 2: expected a number above 2"):
        flight.add(message(2))


def test_an_unknown_number_is_not_open() -> None:
    flight = InFlight()
    flight.add(message(2))

    assert flight.open(1) is None
    assert not flight.finish(1)
    assert flight.take_prefix() is None
