"""Controllers from tables of a file."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct
from tests.foundation.plug_ins import install

from andon.foundation.errors import ConfigError
from andon.monitor.config import configuration_from_table, read_configuration
from andon.monitor.controller_kind import (
    COMMON_KEYS,
    ChosenController,
    ControllerKind,
    ControllerTiming,
    controller_from_table,
    controllers_from_tables,
)
from andon.monitor.process_check import check_process
from andon.sources.clock import SystemClock

PLC: dict[str, object] = {"kind": "theirs", "name": "cell"}
RECORD = """
from typing import Annotated
from msgspec import Meta, Struct
from andon.foundation.errors import ConfigError
from andon.foundation.secret import Secret
from andon.monitor.controller_kind import ControllerKind

OPENED = []

class Settings(Struct, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="host")] = "plc.example"
    unit: Annotated[int, Meta(ge=0, le=255, description="unit")] = 1
    password: Annotated[Secret | None, Meta(description="password")] = None

class Theirs:
    def close(self):
        OPENED.append("closed")

def open(settings, context):
    if settings.unit == 7:
        raise RuntimeError("no licence")
    if len(context.lines) > 2:
        raise ConfigError("lines: expected at most 2 lines, got more.")
    if settings.password is not None:
        settings.password.reveal()
    OPENED.append(context.lines)
    return Theirs()

RECORD = ControllerKind(name="theirs", summary="theirs", settings=Settings, open=open)
"""
LINE = """
[[line]]
name = "press-3"
model = "m.onnx"
[line.source]
kind = "images"
path = "parts"
"""


@pytest.fixture(autouse=True)
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with one kind of controller."""
    install(tmp_path, "their_controller", "andon.controllers", "theirs = their_controller:RECORD", RECORD)
    monkeypatch.syspath_prepend(str(tmp_path))


def chosen(**changes: object) -> ChosenController:
    return controller_from_table(PLC | changes, at="line.toml: controller[0]", lines=["press-3", "press-4"])


def test_a_table_becomes_a_controller() -> None:
    one = chosen(unit=4, every_s=0.2, max_age_s=5, lines=["press-4", "press-3"])

    assert (one.kind.name, one.name, one.lines) == ("theirs", "cell", ("press-4", "press-3"))
    assert one.timing == ControllerTiming(every_s=0.2, max_age_s=5)
    assert (one.settings.host, one.settings.unit) == ("plc.example", 4)
    assert one.shown(["press-3", "press-4", "press-5"]) == ("press-4", "press-3")


def test_a_controller_without_lines_shows_all_in_the_order_of_the_file() -> None:
    one = chosen()

    assert one.lines is None
    assert one.shown(["b", "a"]) == ("b", "a")
    assert one.timing == ControllerTiming(every_s=0.5, max_age_s=2.0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": None}, r'line.toml: controller\[0\].kind: expected a kind, for example kind = "modbus", got nothing.'),
        ({"kind": "their"}, r"controller\[0\].kind: there is no controller 'their' \(did you mean 'theirs'\?\)."),
        ({"name": None}, r"controller\[0\].name: expected 1 to 64 letters.*got nothing"),
        ({"name": "a b"}, r"controller\[0\].name: expected 1 to 64 letters.*got another text"),
        ({"unitt": 1}, r"controller\[0\].unitt: unknown key \(did you mean 'unit'\?\)"),
        ({"every": 1}, r"controller\[0\].every: unknown key \(did you mean 'every_s'\?\)"),
        ({"unit": 256}, r"controller\[0\].unit: expected an integer from 0 to 255, got 256."),
        ({"every_s": 3.0}, r"controller\[0\].every_s: expected a number from 0.05 to 1, got 3.0."),
        ({"max_age_s": 0}, r"controller\[0\].max_age_s: expected a number from 0.1 to 60, got 0."),
        ({"lines": ["press-5"]}, r"controller\[0\].lines: expected a known line, got 'press-5' \(did you mean 'press-"),
        ({"lines": []}, r"controller\[0\].lines: expected a list of at least one line.*got an empty list"),
        ({"lines": "press-3"}, r"controller\[0\].lines: expected a list of at least one line.*got another text"),
        ({"lines": ["press-3", "press-3"]}, r"controller\[0\].lines: expected each line once, got 'press-3' again."),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_with_the_path_of_the_key(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        chosen(**changes)


def test_two_controllers_need_two_names() -> None:
    with pytest.raises(
        ConfigError, match=r"line.toml: controller\[1\].name: expected a name of its own, got 'cell' again"
    ):
        controllers_from_tables([PLC, PLC], at="line.toml")


def test_the_settings_of_a_kind_have_other_names_than_the_common_keys() -> None:
    assert set(COMMON_KEYS) == {"kind", "name", "lines", *ControllerTiming.__struct_fields__}

    class Taken(Struct, frozen=True):
        every_s: Annotated[float, Meta(description="a period")] = 1.0

    with pytest.raises(TypeError, match="expected names that no controller has, got every_s"):
        ControllerKind(name="x", summary="x", settings=Taken, open=lambda _settings, _context: None)  # type: ignore[arg-type, return-value]


def test_errors_of_opening_name_the_controller() -> None:
    with pytest.raises(
        ConfigError, match=r"the controller cell: cannot be opened: RuntimeError: no licence. Check its"
    ):
        chosen(unit=7).open(SystemClock(), ["a"])
    with pytest.raises(ConfigError, match=r"the controller cell: lines: expected at most 2 lines, got more."):
        chosen().open(SystemClock(), ["a", "b", "c"])


def test_a_file_can_have_controllers_and_needs_no_store(tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    file.write_text(LINE + '[[controller]]\nkind = "theirs"\nname = "cell"\npassword = { file = "plc_password" }\n')

    (one,) = read_configuration(file).controllers

    assert one.settings.password.file == str(tmp_path / "plc_password")
    with pytest.raises(ConfigError, match=r"controller\[0\].lines: expected a known line, got 'x'. Known: press-3."):
        configuration_from_table(
            tomllib.loads(LINE + '[[controller]]\nkind = "theirs"\nname = "cell"\nlines = ["x"]\n'),
            folder=tmp_path,
            at="line.toml",
        )
    with pytest.raises(ConfigError, match=r"controller: expected"):
        configuration_from_table(tomllib.loads("controller = 1\n" + LINE), folder=tmp_path, at="line.toml")


def test_the_check_opens_a_controller_closes_it_and_names_a_missing_secret(tmp_path: Path) -> None:
    import their_controller  # type: ignore[import-not-found]

    def checked(text: str) -> tuple[bool, str, str]:
        table = tomllib.loads(LINE + '[[controller]]\nkind = "theirs"\nname = "cell"\n' + text)
        (finding,) = check_process(configuration_from_table(table, folder=tmp_path, at="line.toml"), SystemClock())
        return finding.ok, finding.subject, finding.text

    their_controller.OPENED.clear()
    assert checked("") == (
        True,
        "controller cell (theirs)",
        "state and results of all lines; its settings are valid; the controller was not contacted",
    )
    assert their_controller.OPENED == [("press-3",), "closed"]
    ok, _, text = checked('password = { env = "ANDON_NO_SUCH_PASSWORD" }\n')
    assert not ok
    assert re.search("the controller cell: .*ANDON_NO_SUCH_PASSWORD", text)


def test_a_file_of_the_library_may_have_controllers(tmp_path: Path) -> None:
    from andon.monitor import Monitor

    file: Any = tmp_path / "line.toml"
    file.write_text(LINE + '[[controller]]\nkind = "theirs"\nname = "cell"\nunit = 7\n')

    with pytest.raises(ConfigError, match="the controller cell: cannot be opened"):
        Monitor(file).start()


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (
            {"kind": "modbus", "address": "modbus://10.0.0.7", "register": 100},
            {"kind": "modbus", "address": "modbus://10.0.0.7:502", "register": 115},
            "holding register 115 of modbus://10.0.0.7:502, unit 1",
        ),
        (
            {"kind": "opcua", "address": "opc.tcp://localhost", "nodes": "nsu=http://a;s={line}.{value}"},
            {"kind": "opcua", "address": "opc.tcp://localhost", "nodes": "nsu=http://a;s={line}.{value}"},
            "nsu=http://a;s=a.Heartbeat of opc.tcp://localhost",
        ),
        (
            {"kind": "opcua", "address": "opc.tcp://localhost", "folder": "nsu=http://a;s={line}"},
            {"kind": "opcua", "address": "opc.tcp://localhost", "folder": "nsu=http://a;s={line}"},
            "nsu=http://a;s=a, Heartbeat of opc.tcp://localhost",
        ),
    ],
)
def test_two_controllers_that_would_write_to_the_same_place_are_refused(
    one: dict[str, object], other: dict[str, object], shared: str
) -> None:
    # a PLC would take the result of one line for that of the other, and a read back just after the write does not notice it
    common = {"values": ["Ready", "Heartbeat"]} if one["kind"] == "opcua" else {}

    def chosen(first: list[str], second: list[str]) -> tuple[ChosenController, ...]:
        tables = [{**one, **common, "name": "x", "lines": first}, {**other, **common, "name": "y", "lines": second}]
        return controllers_from_tables(tables, at="line.toml", lines=["a", "b"])

    with pytest.raises(ConfigError) as refused:
        chosen(["a", "b"], ["a"])
    assert str(refused.value) == (
        f"line.toml: controller[1]: expected places of its own, got {shared}, which the controller x writes too. Choose others, "
        "or give each line to one of them."
    )
    assert len(chosen(["a"], ["b"])) == 2
