"""Changes and regular reads of a channel become samples: nothing twice, nothing invented, and a silent subscription is found."""

from hypothesis import given
from hypothesis import strategies as st

from andon.sources.series.held_values import HeldValues, Reading, Sample


def held(*values: float | None, hold: bool = True, patience_s: float = 5.0) -> HeldValues:
    return HeldValues(
        [Reading(value, 1.0) for value in values], 10.0, after_s=[1.0] * len(values), patience_s=patience_s, hold=hold
    )


def test_the_first_read_gives_samples_and_the_first_reports_repeat_them() -> None:
    values = held(1.0, None)

    assert values.begin() == [Sample(0, 10.0, 1.0), Sample(1, 10.0, None)]
    assert values.report(0, Reading(1.0, 1.0), 10.1) is None
    assert values.report(1, Reading(None, None), 10.1) is None


def test_a_first_report_that_is_younger_than_the_first_read_is_a_change() -> None:
    assert held(1.0).report(0, Reading(2.0, 10.05), 10.1) == Sample(0, 10.05, 2.0)


def test_changes_have_the_time_of_the_source_even_if_its_clock_is_behind() -> None:
    values = held(1.0)
    values.report(0, Reading(1.0, 1.0), 10.1)

    assert values.report(0, Reading(2.0, 7.0), 10.2) == Sample(0, 7.0, 2.0)
    assert values.report(0, Reading(3.0, None), 10.3) == Sample(0, 10.3, 3.0)


def test_a_read_gives_a_sample_only_if_the_value_is_the_reported_one_and_the_last_sample_is_old_enough() -> None:
    values = held(1.0, 5.0)

    assert values.read([Reading(1.0, 1.0), Reading(5.0, 1.0)], 10.9) == []
    assert values.read([Reading(2.0, 10.95), Reading(5.0, 1.0)], 11.0) == [Sample(1, 11.0, 5.0)]
    assert values.report(0, Reading(2.0, 10.95), 11.1) == Sample(0, 10.95, 2.0)
    assert values.read([Reading(2.0, 10.95), Reading(5.0, 1.0)], 11.95) == [Sample(0, 11.95, 2.0)]


def test_constant_channels_go_on_when_the_clock_of_the_server_is_set_back() -> None:
    # complaint 22: after a step of an hour they would have no sample for an hour
    values = held(1.0, 5.0)
    same = [Reading(1.0, 1.0), Reading(5.0, 1.0)]
    values.report(0, Reading(1.0, 4000.0), 4000.0)
    values.report(0, Reading(2.0, 4000.0), 4000.0)
    values.read([Reading(2.0, 4000.0), Reading(5.0, 1.0)], 4000.5)

    assert values.read([Reading(2.0, 4000.0), Reading(5.0, 1.0)], 400.0) == []
    assert values.read([Reading(2.0, 4000.0), Reading(5.0, 1.0)], 401.0) == [
        Sample(0, 401.0, 2.0),
        Sample(1, 401.0, 5.0),
    ]
    assert values.read(same, 401.5) == []
    assert values.silent(401.5 + 5.0) is None


def test_without_hold_only_changes_give_samples() -> None:
    values = held(1.0, hold=False)

    assert values.begin() == []
    assert values.read([Reading(1.0, 1.0)], 20.0) == []
    assert values.report(0, Reading(1.0, 1.0), 20.0) is None
    assert values.report(0, Reading(2.0, 20.5), 21.0) == Sample(0, 20.5, 2.0)


def test_a_change_that_is_read_and_never_reported_is_a_silent_subscription() -> None:
    # complaint 17: subscriptions go silent
    values = held(1.0, 2.0)
    for now_s in (11.0, 13.0, 16.0):
        values.read([Reading(1.0, 1.0), Reading(3.0, 11.0)], now_s)
        assert values.silent(now_s) is None
    values.read([Reading(1.0, 1.0), Reading(4.0, 16.5)], 16.5)
    assert values.silent(16.5) == 1

    values.report(1, Reading(4.0, 16.5), 16.6)
    assert values.silent(16.6) is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, 0.0, 1.0, 2.0])), max_size=40))
def test_each_sample_is_a_value_that_the_server_gave_and_times_of_one_channel_never_repeat(
    events: list[tuple[bool, float | None]],
) -> None:
    values = held(0.0)
    samples = values.begin()
    given_values: set[float | None] = {0.0}
    now_s = 10.0
    for is_report, value in events:
        now_s += 0.7
        given_values.add(value)
        if is_report:
            sample = values.report(0, Reading(value, now_s), now_s)
            samples += [] if sample is None else [sample]
        else:
            samples += values.read([Reading(value, now_s)], now_s)

    times_s = [sample.time_s for sample in samples]
    assert times_s == sorted(set(times_s))
    assert {sample.value for sample in samples} <= given_values
