"""Addresses that stay on this machine are recognised without looking up a name."""

import pytest

from andon.foundation.loopback import is_loopback


@pytest.mark.parametrize(
    ("host", "stays"),
    [("localhost", True), ("LOCALHOST.", True), ("127.3.2.1", True), ("[::1]", True), ("10.0.0.1", False), ("0.0.0.0", False),
     ("localhost.example.com", False), ("", False)],
)  # fmt: skip
def test_only_an_address_of_this_machine_is_loopback(host: str, stays: bool) -> None:
    assert is_loopback(host) is stays
