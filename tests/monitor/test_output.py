"""Outputs from tables of a file, and the events that they want."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.foundation.plug_ins import install
from tests.monitor.receivers import ShiftedClock, event

from andon.foundation import registry
from andon.foundation.errors import ConfigError
from andon.monitor.event import Event
from andon.monitor.outbox import Waiting
from andon.monitor.output import KINDS, ChosenOutput, message_of, output_from_table, outputs_from_tables
from andon.monitor.outputs import kafka, mqtt, webhook

HOOK: dict[str, object] = {"kind": "webhook", "name": "mes", "url": "https://mes.example/andon"}


def chosen(**changes: object) -> ChosenOutput:
    return output_from_table(HOOK | changes, at="line.toml: output[0]", lines=["press-3", "press-4"])


def test_the_outputs_of_andon_are_found_by_their_files() -> None:
    assert dict(registry.members("andon.outputs")) == {
        "kafka": kafka.OUTPUT,
        "mqtt": mqtt.OUTPUT,
        "webhook": webhook.OUTPUT,
    }


def test_a_table_becomes_an_output() -> None:
    one = chosen(timeout_s=2.0)

    assert (one.kind, one.name, one.lines, one.kinds) == (webhook.OUTPUT, "mes", None, None)
    assert one.settings == webhook.Settings(url="https://mes.example/andon", timeout_s=2.0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": None}, r'line.toml: output\[0\].kind: expected a kind, for example kind = "mqtt", got nothing.'),
        ({"kind": "mqt"}, r"output\[0\].kind: there is no output 'mqt' \(did you mean 'mqtt'\?\). Known: kafka, mqtt, webhook."),
        ({"name": None}, r"output\[0\].name: expected 1 to 64 letters.*got nothing"),
        ({"name": "a b"}, r"output\[0\].name: expected 1 to 64 letters"),
        ({"urll": "x"}, r"output\[0\].urll: unknown key \(did you mean 'url'\?\)"),
        ({"timeout_s": 0}, r"output\[0\].timeout_s: expected a number from 0.1 to 60, got 0."),
        ({"lines": ["press-5"]}, r"output\[0\].lines: expected a known line, got 'press-5' \(did you mean 'press-"),
        ({"kinds": ["rejects"]}, r"output\[0\].kinds: expected a known kind of event, got 'rejects' \(did you mean 'reject'"),
        ({"kinds": []}, r"output\[0\].kinds: expected a list of at least one kind of event.*got an empty list"),
        ({"lines": "press-3"}, r"output\[0\].lines: expected a list"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_with_the_path_of_the_key(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        chosen(**changes)


def test_the_tables_of_the_documentation_are_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "outputs.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    chosen = outputs_from_tables(tomllib.loads(text)["output"], at="outputs.md", lines=["press-3"])

    assert [(one.kind.name, one.name, one.lines, one.kinds) for one in chosen] == [
        ("mqtt", "plant", None, None),
        ("kafka", "history", None, None),
        ("webhook", "mes", ("press-3",), ("reject", "alarm")),
    ]


def test_two_outputs_need_two_names() -> None:
    with pytest.raises(ConfigError, match=r"line.toml: output\[1\].name: expected a name of its own, got 'mes' again"):
        outputs_from_tables([HOOK, HOOK], at="line.toml")
    two = outputs_from_tables([HOOK, HOOK | {"name": "andon-board"}], at="line.toml")

    assert [one.name for one in two] == ["mes", "andon-board"]


# the second event is about the process
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, [True, True, True]),
        ({"lines": ["press-4"]}, [False, True, True]),
        ({"kinds": ["reject"]}, [True, False, True]),
        ({"kinds": ["stop", "lost"], "lines": ["press-4"]}, [False, True, False]),
    ],
)
def test_an_output_gets_the_events_of_its_lines_and_kinds_and_those_about_the_process(
    changes: dict[str, object], wanted: list[bool]
) -> None:
    events: list[Event] = [event(1), event(2, line=""), event(3, line="press-4")]

    assert [chosen(**changes).wanted(one) for one in events] == wanted


def test_the_kinds_are_those_of_the_events() -> None:
    assert {"reject", "alarm", "lost", "start", "stop", "confirmation"} < set(KINDS)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"line":"a"}', b"[" * 100_000])
def test_the_head_of_other_content_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="expected an event as JSON"):
        message_of(Waiting(1, "", payload, 0))


def test_an_output_of_another_package_that_fails_to_open_is_named(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = """
from andon.monitor.output import OutputKind
from andon.sources.stream_settings import NoSettings

def open(settings, context):
    raise RuntimeError("no licence")

RECORD = OutputKind(name="theirs", summary="theirs", settings=NoSettings, open=open)
"""
    install(tmp_path, "their_output", "andon.outputs", "theirs = their_output:RECORD", record)
    monkeypatch.syspath_prepend(str(tmp_path))
    one = output_from_table({"kind": "theirs", "name": "x"}, at="line.toml: output[0]")

    with pytest.raises(ConfigError, match="the output x: cannot be opened: RuntimeError: no licence"):
        one.open(ShiftedClock())


def test_the_error_of_opening_names_the_output() -> None:
    with pytest.raises(ConfigError, match="the output mes: the environment variable ANDON_NO_SUCH_TOKEN: expected a"):
        chosen(token={"env": "ANDON_NO_SUCH_TOKEN"}).open(ShiftedClock())
