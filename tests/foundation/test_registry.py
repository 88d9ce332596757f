"""What can be extended is listed by name without being imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from andon.foundation import registry
from andon.runtime import ConfigError
from andon.sources.source import find

_LIST = """
import sys
from andon.foundation import registry
found = {group: registry.names(group) for group in ("andon.detectors", "andon.sources")}
own = [name for name in sys.modules if name.startswith(("andon.training.detectors.", "andon.sources.kinds."))]
print(found["andon.sources"], own, [name for name in ("torch", "cv2", "onnx") if name in sys.modules])
"""


def test_names_are_listed_without_importing_a_member() -> None:
    told = subprocess.run([sys.executable, "-c", _LIST], capture_output=True, text=True, check=True)

    assert told.stdout.startswith("[")
    assert "'images'" in told.stdout
    assert told.stdout.rstrip().endswith("] [] []")


def test_names_are_sorted() -> None:
    names = registry.names("andon.sources")

    assert names == sorted(names)


def test_a_member_is_its_module_s_record() -> None:
    from andon.sources.kinds import images

    assert registry.load("andon.sources", "images") is images.SOURCE


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"there is no source 'imagse' \(did you mean 'images'\?\)\. Known: "):
        registry.load("andon.sources", "imagse")


_PLUGIN = """
[andon.sources]
elsewhere = their_package:SOURCE
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution that brings a source."""
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(_PLUGIN, encoding="utf-8")
    (tmp_path / "their_package.py").write_text("SOURCE = 'their record'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugin")
def test_another_package_s_member_is_listed_unimported_and_loaded() -> None:
    assert "elsewhere" in registry.names("andon.sources")
    assert "their_package" not in sys.modules
    try:
        assert registry.load("andon.sources", "elsewhere") == "their record"
    finally:
        sys.modules.pop("their_package", None)


@pytest.fixture
def broken_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution whose source cannot be imported."""
    info = tmp_path / "broken_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[andon.sources]\naaa = broken_package:SOURCE\n", encoding="utf-8")
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('no licence\\x1b[2J')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_package_is_reported_once_and_skipped_by_those_who_want_another_source(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry._warn_once.cache_clear()

    assert [find("-").name for _ in range(2)] == ["stdin", "stdin"]
    assert "images" in dict(registry.members("andon.sources"))
    (message,) = caplog.messages
    assert "the source 'aaa' of the package 'broken-package' cannot be loaded" in message
    assert "RuntimeError: no licence\\x1b[2J" in message


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_package_that_is_named_is_the_users_error() -> None:
    with pytest.raises(ConfigError, match="the source 'aaa' of the package 'broken-package' cannot be loaded"):
        registry.load("andon.sources", "aaa")
