"""The runtime stays small: what it imports, what it costs, what it leaves behind."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.hand_made import FRAME, model_bytes

import andon.runtime

ROOT = Path(__file__).parents[2]
ALLOWED = sys.stdlib_module_names | {"numpy", "onnxruntime", "msgspec", "andon"}
HEAVY = ("torch", "onnx", "onnxscript", "scipy", "sklearn", "cv2", "matplotlib", "pandas", "PIL", "pyarrow")


def _sources() -> list[Path]:
    return sorted((ROOT / "runtime" / "andon" / "runtime").rglob("*.py"))


def _module_level_imports(source: str) -> set[str]:
    """Top-level packages imported when the module is, so not within functions."""
    found: set[str] = set()
    left: list[ast.AST] = [ast.parse(source)]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            left.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", _sources(), ids=lambda path: path.name)
def test_a_module_of_the_runtime_imports_only_what_the_base_install_has(path: Path) -> None:
    assert _module_level_imports(path.read_text(encoding="utf-8")) <= ALLOWED


def test_the_walk_sees_imports_in_classes_and_conditions_but_not_in_functions() -> None:
    source = "if True:\n    import a.b\nclass C:\n    from d import e\ndef f():\n    import g\n"

    assert _module_level_imports(source) == {"a", "d"}


@pytest.mark.parametrize("part", ["calibration", "export", "runtime", "training"])
def test_andon_is_a_namespace_that_several_folders_share(part: str) -> None:
    assert (ROOT / part / "andon").is_dir()
    assert not (ROOT / part / "andon" / "__init__.py").exists()


def _fresh(script: str, home: Path) -> dict[str, object]:
    """Return the JSON that a script prints in a new interpreter, with an empty home and without a telemetry switch."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")}
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | {"HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert told.stderr == ""
    found: dict[str, object] = json.loads(told.stdout)
    return found


_IMPORT = f"""
import json, sys, time
import andon.runtime
from andon.runtime.bench import resident_mb
print(json.dumps({{
    "cpu_s": time.process_time(),
    "resident_mb": resident_mb(),
    "heavy": [name for name in {HEAVY!r} if name in sys.modules],
}}))
"""


def test_the_import_is_light(tmp_path: Path) -> None:
    found = _fresh(_IMPORT, tmp_path)

    assert found["heavy"] == []
    assert isinstance(found["cpu_s"], float)
    assert found["cpu_s"] < 0.5
    assert found["resident_mb"] is None or (isinstance(found["resident_mb"], float) and found["resident_mb"] < 90)


_JUDGE = """
import json, sys
import numpy as np
from andon.runtime import Detector
from andon.runtime.bench import resident_mb
detector = Detector.load(sys.argv[1] if len(sys.argv) > 1 else {path!r}, frame_size="any")
generator = np.random.default_rng(0)
statuses = set()
for _ in range(10):
    statuses.add(detector(generator.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)).status.name)
heavy = [name for name in {heavy!r} if name in sys.modules]
print(json.dumps({{"statuses": sorted(statuses), "resident_mb": resident_mb(), "heavy": heavy}}))
"""


def test_judging_leaves_no_file_at_home_and_little_memory_taken(tmp_path: Path) -> None:
    model, home = tmp_path / "model.onnx", tmp_path / "home"
    home.mkdir()
    model.write_bytes(model_bytes(FRAME, threshold=0.5))

    found = _fresh(_JUDGE.format(path=str(model), heavy=HEAVY), home)

    assert found["statuses"] == ["OK"]
    assert found["heavy"] == []
    assert found["resident_mb"] is None or (isinstance(found["resident_mb"], float) and found["resident_mb"] < 150)
    assert list(home.rglob("*")) == []


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert andon.runtime.__version__ == version("andon")


def test_an_unknown_attribute_is_told_as_one() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such'"):
        andon.runtime.no_such  # noqa: B018
