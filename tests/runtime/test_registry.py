"""What can be extended is listed by name without being imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from andon.runtime import ConfigError, registry

_LIST = """
import sys
from andon.runtime import registry
found = {group: registry.names(group) for group in ("andon.detectors", "andon.sources", "andon.sinks")}
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
