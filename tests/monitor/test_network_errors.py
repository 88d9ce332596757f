"""A failed connection is described in words, and never by text that may contain a secret."""

import socket
import ssl

import pytest
from tests.monitor.receivers import CANARY

from andon.monitor.network_errors import why


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError("timed out"), "no connection or no answer in time"),
        (TimeoutError(110, "Connection timed out"), "no connection or no answer in time"),
        (socket.gaierror(-2, "Name or service not known"), "the name of the host cannot be looked up: Name or service not known"),
        (ssl.SSLError(1, f"[SSL: WRONG_VERSION_NUMBER] {CANARY}"), "TLS failed: SSLError"),
        (OSError(CANARY), "OSError"),
        (ValueError(CANARY), "ValueError"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failed_connection_is_in_words(error: Exception, text: str) -> None:
    assert why(error) == text
