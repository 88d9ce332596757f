"""Wrong tokens are limited by address, within bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.web.failure_limit import MOST_ADDRESSES, MOST_FAILURES, WINDOW_S, FailureLimit


def test_the_sixth_try_within_a_minute_must_wait_until_the_first_is_a_minute_old() -> None:
    limit = FailureLimit()
    for second in range(MOST_FAILURES):
        assert limit.wait_s("10.0.0.7", second) == 0.0
        limit.failed("10.0.0.7", second)

    assert limit.wait_s("10.0.0.7", 10.0) == 50.0
    assert limit.wait_s("10.0.0.7", WINDOW_S) == 0.0
    assert limit.wait_s("10.0.0.8", 10.0) == 0.0


def test_all_addresses_of_one_ipv6_network_count_as_one() -> None:
    limit = FailureLimit()
    for number in range(MOST_FAILURES):
        limit.failed(f"2001:db8::{number}", 0.0)

    assert limit.wait_s("2001:db8::ffff", 1.0) > 0.0
    assert limit.wait_s("2001:db8:0:1::1", 1.0) == 0.0


def test_an_ipv4_address_in_the_form_of_ipv6_is_the_same_address() -> None:
    limit = FailureLimit()
    for _ in range(MOST_FAILURES):
        limit.failed("::ffff:10.0.0.7", 0.0)

    assert limit.wait_s("10.0.0.7", 1.0) > 0.0


def test_many_addresses_do_not_fill_the_memory() -> None:
    limit = FailureLimit()
    for number in range(MOST_ADDRESSES + 100):
        limit.failed(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", 0.0)

    assert len(limit) == MOST_ADDRESSES


@given(st.lists(st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "x"]), st.floats(0, 30)), max_size=60))
def test_no_window_of_a_minute_has_more_tries_than_allowed(tries: list[tuple[str, float]]) -> None:
    limit, now_s = FailureLimit(), 0.0
    tried: dict[str, list[float]] = {}
    for address, pause_s in tries:
        now_s += pause_s
        if limit.wait_s(address, now_s) == 0.0:
            limit.failed(address, now_s)
            tried.setdefault(address, []).append(now_s)

    for times in tried.values():
        for first, last in zip(times, times[MOST_FAILURES:], strict=False):
            assert last - first >= WINDOW_S * (1 - 1e-9)
