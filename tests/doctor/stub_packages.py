"""Folders with stub packages: a module, and the metadata of the wheel that installed it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

ROOT = Path(__file__).parents[2]

SESSIONS = """
__version__ = "{version}"

class SessionOptions:
    def add_session_config_entry(self, name, value):
        pass

class GraphOptimizationLevel:
    ORT_ENABLE_ALL = 99

def get_available_providers():
    return {listed!r}

def preload_dlls():
    print({printed!r})

class InferenceSession:
    def __init__(self, model, options, providers, **more):
        self.providers = providers if providers[0] in {opens!r} else ["CPUExecutionProvider"]

    def get_providers(self):
        return self.providers
"""
"""An ONNX Runtime that opens some of the providers that it lists, and runs the others on the CPU without an error."""


def wheel(folder: Path, name: str, version: str, modules: Mapping[str, str] | None = None) -> None:
    """Install a wheel in a folder.

    Args:
        folder: on the search path of the interpreter.
        name: name of the distribution.
        version: its version.
        modules: text by path of each file below the folder.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    for path, text in (modules or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def onnxruntime(
    *, package: str, version: str, listed: tuple[str, ...], opens: tuple[str, ...], printed: str = ""
) -> dict[str, str]:
    """Return the files of a stub of ONNX Runtime."""
    return {
        "onnxruntime/__init__.py": SESSIONS.format(
            version=version, listed=list(listed), opens=list(opens), printed=printed
        ),
        "onnxruntime/capi/build_and_package_info.py": f"package_name = '{package}'\n__version__ = '{version}'\n",
    }


def base_without_onnxruntime(folder: Path) -> Path:
    """Make a folder that has the base install without ONNX Runtime, and return it."""
    folder.mkdir()
    for module in (np, msgspec):
        package = Path(str(module.__file__)).parent
        for part in (package, package.with_name(package.name + ".libs")):
            if part.exists():
                (folder / part.name).symlink_to(part)
        for info in package.parent.glob(f"{package.name}-*.dist-info"):
            (folder / info.name).symlink_to(info)
    wheel(folder, "andon", "0.1.0")
    return folder


def run(*words: str, path: tuple[Path, ...], module: str = "andon") -> "subprocess.CompletedProcess[str]":
    """Run a module in an interpreter that finds packages in these folders only."""
    parts = [ROOT / part for part in ("runtime", "calibration", "export", "training")]
    return subprocess.run(
        [sys.executable, "-S", "-m", module, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, *parts]))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
