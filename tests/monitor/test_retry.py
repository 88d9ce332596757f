"""Pauses grow to a limit, the breaker lets one try through, and a refused event is given up."""

import random

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.retry import POISON_AFTER, Backoff, Breaker, is_poison

backoffs = st.builds(Backoff, first_s=st.floats(0.001, 10), cap_s=st.floats(10, 1000))


@given(backoff=backoffs, tries=st.integers(0, 10**6), seed=st.integers())
def test_a_pause_is_never_longer_than_its_limit_and_the_limit_never_longer_than_the_cap(
    backoff: Backoff, tries: int, seed: int
) -> None:
    pause_s = backoff.delay_s(tries, random.Random(seed))

    assert 0.0 <= pause_s <= backoff.limit_s(tries) <= backoff.cap_s
    assert backoff.limit_s(tries) <= backoff.limit_s(tries + 1)


def test_the_jitter_is_full() -> None:
    drawn = [Backoff().delay_s(3, rng) for rng in [random.Random(0)] for _ in range(2000)]

    assert min(drawn) < 0.04 * 4.0
    assert max(drawn) > 0.96 * 4.0
    assert 1.9 < sum(drawn) / len(drawn) < 2.1


@given(
    backoff=backoffs,
    results=st.lists(st.tuples(st.booleans(), st.floats(0, 1e5), st.floats(0, 1e7)), max_size=30),
    seed=st.integers(),
)
def test_the_breaker_is_closed_after_a_success_and_open_for_a_bounded_pause_after_a_failure(
    backoff: Backoff, results: list[tuple[bool, float, float]], seed: int
) -> None:
    rng, breaker, now_s, failures = random.Random(seed), Breaker(), 0.0, 0
    for good, later_s, asked_s in results:
        now_s += later_s
        if good:
            breaker, failures = breaker.succeeded(), 0
            assert breaker.state(now_s) == "closed"
            continue
        breaker, failures = breaker.failed(now_s, backoff, rng, at_least_s=asked_s), failures + 1
        assert breaker.failures == failures
        assert min(asked_s, backoff.cap_s) <= breaker.until_s - now_s + 1e-6
        assert breaker.until_s - now_s <= backoff.cap_s + 1e-6
        assert breaker.state(breaker.until_s) == "half_open"
        assert breaker.state(breaker.until_s - 1e-3) in ("open", "half_open")


def test_an_event_is_dead_after_three_refusals() -> None:
    assert [is_poison(number) for number in range(5)] == [False, False, False, True, True]
    assert POISON_AFTER == 3
