"""A request that a page of another site has caused is recognised."""

import pytest

from andon.monitor.web.origin import is_own_origin, may_change, may_read


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("https://line1.example", True),
        ("https://LINE1.example:443", True),
        ("http://line1.example", False),
        ("https://line1.example:8443", False),
        ("https://line1.example.evil.example", False),
        ("https://evil.example", False),
        ("https://line1.example@evil.example", False),
        ("https://evil.example/line1.example", False),
        ("null", False),
        ("", False),
        ("line1.example", False),
        ("file://", False),
    ],
)
def test_only_scheme_host_and_port_of_the_server_are_its_origin(origin: str, own: bool) -> None:
    assert is_own_origin(origin, "line1.example", {"https"}) is own


def test_another_port_of_this_machine_is_another_site() -> None:
    assert is_own_origin("http://localhost:8420", "localhost:8420", {"http"})
    assert not is_own_origin("http://localhost:3000", "localhost:8420", {"http"})
    assert not is_own_origin("http://127.0.0.1:8420", "localhost:8420", {"http"})


def test_a_proxy_can_replace_the_host_but_only_its_own_names_are_accepted() -> None:
    schemes, proxied = {"http", "https"}, ("line1.example", "line2.example:9000")
    for origin, own in (
        ("https://line1.example", True),
        ("https://line1.example:8443", False),
        ("https://line2.example:9000", True),
        ("https://line2.example", False),
        ("https://evil.example", False),
    ):
        assert is_own_origin(origin, "127.0.0.1:8420", schemes, proxied) is own


def test_other_sites_can_link_here_but_cannot_embed_anything() -> None:
    assert may_read(None, None, None)
    assert may_read("same-origin", "cors", "empty")
    assert may_read("none", "navigate", "document")
    assert may_read("cross-site", "navigate", "document")
    assert not may_read("cross-site", "navigate", "iframe")
    for site in ("cross-site", "same-site", "something new"):
        assert not may_read(site, "no-cors", "image")
        assert not may_read(site, "no-cors", "script")


def test_a_change_must_be_from_a_page_of_this_server() -> None:
    assert may_change(None)
    assert may_change("same-origin")
    assert not any(map(may_change, ("cross-site", "same-site", "none", "")))
