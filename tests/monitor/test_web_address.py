"""Web addresses are split, and refused if they could send a secret or an event over a network without encryption."""

import pytest

from andon.monitor.web_address import web_address


def test_plain_http_is_for_this_machine_unless_the_user_allows_it() -> None:
    for url in ("http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/x", "https://mes.example/"):
        web_address(url, insecure=False)
    with pytest.raises(ValueError, match="expected https:// for another machine"):
        web_address("http://localhost.example/", insecure=False)

    assert web_address("http://mes.example/a?b=c", insecure=True) == (False, "mes.example", 80, "/a?b=c")


@pytest.mark.parametrize(
    "url",
    ["", "mes.example", "ftp://mes.example/", "https:///x", "https://mes.example/#a", "https://mes.example:99999/",
     "https://mes.example/a b", "https://mes.example/\u00e9", "https://[::1/", "https://user:canary@mes.example/"],
)  # fmt: skip
def test_an_address_that_does_not_fit_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: expected an address") as refusal:
        web_address(url, insecure=True)

    assert "canary" not in str(refusal.value)
    assert "ftp" not in str(refusal.value)
