"""Plug-ins are listed by name without being imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.foundation.plug_ins import install

from andon.foundation import registry
from andon.monitor.sink import sink_from_table, sink_from_text
from andon.runtime import ConfigError
from andon.sources.source import find

_LIST = """
import sys
from andon.foundation import registry
from andon.monitor.sink import sink_from_table, sink_from_text
found = {group: registry.names(group) for group in ("andon.detectors", "andon.sources", "andon.sinks", "andon.outputs")}
homes = ("andon.training.detectors.", "andon.sources.kinds.", "andon.monitor.sinks.", "andon.monitor.outputs.")
own = [name for name in sys.modules if name.startswith(homes)]
listed = found["andon.sources"] + found["andon.sinks"] + found["andon.outputs"]
print(listed, own, [name for name in ("torch", "cv2", "onnx", "paho") if name in sys.modules])
"""


def test_names_are_listed_without_importing_a_member() -> None:
    listed = subprocess.run([sys.executable, "-c", _LIST], capture_output=True, text=True, check=True)

    assert listed.stdout.startswith("[")
    assert "'images'" in listed.stdout
    assert "'json_lines'" in listed.stdout
    assert "'mqtt'" in listed.stdout
    assert listed.stdout.rstrip().endswith("] [] []")


def test_names_are_sorted() -> None:
    names = registry.names("andon.sources")

    assert names == sorted(names)


def test_a_member_is_its_module_s_record() -> None:
    from andon.sources.kinds import images

    assert registry.load("andon.sources", "images") is images.SOURCE


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"there is no source 'imagse' \(did you mean 'images'\?\)\. Known: "):
        registry.load("andon.sources", "imagse")


RECORDS = {
    "andon.sources": """
from andon.sources.source import Source
RECORD = Source(name="elsewhere", summary="theirs", accepts=lambda text: False)
""",
    "andon.sinks": """
from andon.monitor.sink import SinkKind
from andon.sources.stream_settings import NoSettings
RECORD = SinkKind(name="elsewhere", summary="theirs", settings=NoSettings, open=lambda settings, context: None)
""",
    "andon.outputs": """
from andon.monitor.output import OutputKind
from andon.sources.stream_settings import NoSettings
RECORD = OutputKind(name="elsewhere", summary="theirs", settings=NoSettings, open=lambda settings, context: None)
""",
}
GROUPS: tuple[registry.Group, ...] = ("andon.sources", "andon.sinks", "andon.outputs")


@pytest.mark.parametrize("group", GROUPS)
def test_another_package_s_member_is_listed_unimported_and_loaded(
    group: registry.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "their_package", group, "elsewhere = their_package:RECORD", RECORDS[group])
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "elsewhere" in registry.names(group)
    assert "their_package" not in sys.modules
    try:
        assert registry.load(group, "elsewhere").summary == "theirs"
    finally:
        sys.modules.pop("their_package", None)


@pytest.fixture(params=GROUPS)
def broken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> registry.Group:
    """Return a group in which another distribution has a member `aaa` that cannot be imported."""
    group: registry.Group = request.param
    module = "raise RuntimeError('no licence\\x1b[2J')\n"
    install(tmp_path, "broken_package", group, "aaa = broken_package:RECORD", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.warn_once.cache_clear()
    return group


def test_a_broken_package_is_reported_once_and_skipped(
    broken: registry.Group, caplog: pytest.LogCaptureFixture
) -> None:
    expected = {"andon.sources": "images", "andon.sinks": "json_lines", "andon.outputs": "mqtt"}[broken]

    assert all(expected in dict(registry.members(broken)) for _ in range(2))
    (message,) = caplog.messages
    kind = broken.removeprefix("andon.").removesuffix("s")
    assert f"the {kind} 'aaa' of the package 'broken-package' cannot be loaded from 'broken_package:RECORD'" in message
    assert "RuntimeError: no licence\\x1b[2J" in message


def test_a_broken_package_that_is_named_is_the_users_error(broken: registry.Group) -> None:
    with pytest.raises(ConfigError, match="'aaa' of the package 'broken-package' cannot be loaded"):
        registry.load(broken, "aaa")


@pytest.mark.parametrize("group", GROUPS)
def test_an_entry_point_that_is_no_record_of_its_group_is_broken(
    group: registry.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "odd_package", group, "odd = odd_package:RECORD", "RECORD = 'not a record'\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ConfigError, match=r"TypeError: expected an instance of andon\..*, got str"):
        registry.load(group, "odd")


@pytest.mark.parametrize("broken", ["andon.sources"], indirect=True)
@pytest.mark.usefixtures("broken")
def test_a_broken_source_hinders_no_other_source() -> None:
    assert [find("-").name for _ in range(2)] == ["stdin", "stdin"]


@pytest.mark.parametrize("broken", ["andon.sources"], indirect=True)
@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("text", ["aaa", "aaa:seed=3"])
def test_a_broken_source_that_is_named_is_not_skipped(text: str) -> None:
    with pytest.raises(ConfigError, match="the source 'aaa' of the package 'broken-package' cannot be loaded"):
        find(text)


@pytest.mark.parametrize("broken", ["andon.sinks"], indirect=True)
@pytest.mark.usefixtures("broken")
def test_a_broken_sink_that_is_named_is_not_skipped() -> None:
    with pytest.raises(ConfigError, match="the sink 'aaa' of the package 'broken-package' cannot be loaded"):
        sink_from_text("aaa:path=x")
    with pytest.raises(ConfigError, match="the sink 'aaa' of the package 'broken-package' cannot be loaded"):
        sink_from_table({"kind": "aaa"})


_ODD = """
from andon.sources.source import Source

def accepts(text):
    raise ZeroDivisionError("a bug of theirs")

RECORD = Source(name="aaa", summary="theirs", accepts=accepts)
"""


def test_a_source_that_fails_when_it_is_asked_is_reported_once_and_skipped_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "odd_source", "andon.sources", "aaa = odd_source:RECORD", _ODD)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.warn_once.cache_clear()

    assert [find("-").name for _ in range(2)] == ["stdin", "stdin"]
    (message,) = caplog.messages
    assert message.startswith("the source 'aaa' is broken: its function `accepts` raised ZeroDivisionError")
    with pytest.raises(ConfigError, match="the source 'aaa' is broken"):
        find("aaa:seed=1")
