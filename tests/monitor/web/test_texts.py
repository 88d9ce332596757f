"""The texts of the page: each one that the page uses exists, and each one that exists is used."""

import re
from importlib import resources

import pytest

from andon.foundation.errors import ConfigError
from andon.monitor.web.page_data import SIGNALS
from andon.monitor.web.texts import texts

_WEB = resources.files("andon.monitor.web")
_SOURCES = "".join(
    one.read_text(encoding="utf-8")
    for folder in ("static", "templates")
    for one in _WEB.joinpath(folder).iterdir()
    if one.name.endswith((".js", ".html"))
)


def used_keys() -> set[str]:
    """Return the keys in the sources. A key that ends in a dot is the beginning of several."""
    found = set(re.findall(r"text\(\"([a-z_.-]+)\"", _SOURCES))
    found |= {key.partition("$")[0] for key in re.findall(r"text\(`([^`]+)`", _SOURCES)}
    found |= {key.partition("$")[0] for key in re.findall(r"TEXTS\[`([^`]+)`", _SOURCES)}
    found |= set(re.findall(r"texts\['([A-Za-z0-9_.-]+)'", _SOURCES))
    found |= set(re.findall(r"[?:] \"([a-z_]+\.[a-z_]+)\"", _SOURCES))  # both branches of a condition
    return found


def test_each_text_that_the_page_uses_exists() -> None:
    known = texts()

    for key in used_keys():
        assert key in known or any(one.startswith(key) for one in known), key


def test_each_text_is_used() -> None:
    used = used_keys()

    unused = {key for key in texts() if key not in used and not any(one and key.startswith(one) for one in used)}
    assert not unused


def test_each_signal_and_each_kind_of_event_has_a_text() -> None:
    from andon.monitor.output import KINDS

    assert all(f"signal.{signal}" in texts() for signal in SIGNALS)
    assert all(f"kind.{kind}" in texts() for kind in KINDS if kind != "alarm")
    assert all(
        f"kind.alarm-{change}" in texts() for change in ("raised", "repeated", "cleared", "acked", "ack_refused")
    )


@pytest.mark.parametrize("language", ["xx", "../secret", ""])
def test_a_language_without_texts_is_refused(language: str) -> None:
    with pytest.raises(ConfigError, match="language: expected one with a file of texts"):
        texts(language)
