"""The texts of the page: each one that is used exists, each one that exists is used, and no other place has a visible text."""

import re
from html.parser import HTMLParser
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
) + "".join(_WEB.joinpath(name).read_text(encoding="utf-8") for name in ("login.py", "pages.py"))
_SHOWN = ("alt", "title", "aria-label", "placeholder")
"""Attributes that people see or hear."""
_TECHNICAL = {"shape small", "Content-Type", "X-Andon-CSRF"}
"""Literals of the scripts that look like text and are not shown."""


def used_keys() -> set[str]:
    """Return the keys in the sources. A key that ends in a dot is the beginning of several."""
    found = set(re.findall(r"text\(\"([a-z_.-]+)\"", _SOURCES))
    found |= {key.partition("$")[0] for key in re.findall(r"text\(`([^`]+)`", _SOURCES)}
    found |= {key.partition("$")[0] for key in re.findall(r"TEXTS\[`([^`]+)`", _SOURCES)}
    found |= set(re.findall(r"texts\['([A-Za-z0-9_.-]+)'", _SOURCES))
    found |= set(re.findall(r"texts\(\)\[\"([a-z_.]+)\"\]", _SOURCES))
    found |= {key.partition("{")[0] for key in re.findall(r"f\"([a-z]+\.[^\"]*)\"", _SOURCES) if "{" in key}
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


class _Shown(HTMLParser):
    """Collects the texts and attributes that people see. The letter in a shape and the text of a command are not translated."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        self.texts += [value or "" for name, value in attrs if name in _SHOWN]

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"symbol", "code"} & set(self._inside):
            self.texts.append(data)


def test_no_template_has_a_visible_text_of_its_own() -> None:
    for file in _WEB.joinpath("templates").iterdir():
        shown = _Shown()
        text = re.sub(
            r"\{% block body %\}.*?\{% endblock %\}", "", file.read_text(encoding="utf-8")
        )  # attributes of body
        shown.feed(re.sub(r"\{[{%].*?[%}]\}", "", text))
        assert [text.strip() for text in shown.texts if re.search("[A-Za-z]", text)] == [], file.name


def test_no_script_has_a_visible_text_of_its_own() -> None:
    for file in _WEB.joinpath("static").iterdir():
        if not file.name.endswith(".js"):
            continue
        script = re.sub(r"(?m)//.*$", "", file.read_text(encoding="utf-8"))
        literals = {one[1:-1] for one in re.findall(r"\"[^\"\n]*\"|`[^`]*`", re.sub(r"/.*?\\\"/", "", script))}
        plain = {re.sub(r"\$\{[^}]*\}", "", one) for one in literals}
        # several words, or one word with a capital letter
        text = {one for one in plain if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}|^[A-Z][a-z]+", one)} - _TECHNICAL
        assert text == set(), file.name
