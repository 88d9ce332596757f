"""Changes are limited by address, and the memory for it is bounded."""

from andon.monitor.web.failure_limit import MOST_ADDRESSES
from andon.monitor.web.rate_limit import MOST_AT_ONCE, PER_SECOND, RateLimit


def test_some_changes_are_allowed_at_once_and_then_one_at_a_time() -> None:
    limit = RateLimit()

    assert [limit.wait_s("10.0.0.9", 0.0) for _ in range(MOST_AT_ONCE)] == [0.0] * MOST_AT_ONCE
    assert limit.wait_s("10.0.0.9", 0.0) == 1.0 / PER_SECOND
    assert limit.wait_s("10.0.0.9", 0.25) == 0.75
    assert limit.wait_s("10.0.0.9", 1.0) == 0.0
    assert limit.wait_s("10.0.0.9", 1.0) > 0.0


def test_a_refused_change_does_not_extend_the_wait() -> None:
    limit = RateLimit()
    for _ in range(MOST_AT_ONCE + 100):
        limit.wait_s("a", 0.0)
    assert limit.wait_s("a", 1.0) == 0.0


def test_a_pause_does_not_save_up_more_than_the_first_allowance() -> None:
    limit = RateLimit()
    limit.wait_s("a", 0.0)
    allowed = sum(limit.wait_s("a", 1e6) == 0.0 for _ in range(2 * MOST_AT_ONCE))
    assert allowed == MOST_AT_ONCE


def test_addresses_do_not_share_a_limit_but_a_network_of_one_machine_does() -> None:
    limit = RateLimit()
    for number in range(MOST_AT_ONCE):
        limit.wait_s(f"fd00::{number:x}", 0.0)
    assert limit.wait_s("fd00::ffff", 0.0) > 0.0
    assert limit.wait_s("fd01::1", 0.0) == 0.0


def test_the_number_of_addresses_in_memory_is_bounded() -> None:
    limit = RateLimit()
    for number in range(3 * MOST_ADDRESSES):
        limit.wait_s(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", float(number))
    assert len(limit) == MOST_ADDRESSES
