"""Find wheels that write the same import package, such as onnxruntime and onnxruntime-gpu, and the command that repairs it.

pip installs such wheels next to each other without an error. The files of the last one win, and removing either of them deletes
files of the other. The names and versions come from the metadata of the distributions, which remain correct.
"""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from msgspec import Struct

ONNXRUNTIME = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
)
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")

State = Literal["absent", "empty", "code"]


class Wheels(Struct, frozen=True, kw_only=True):
    """The wheels that provide one import package, and what is in its folder."""

    module: str
    """Name of the import package, for example ``onnxruntime``."""
    installed: Mapping[str, str]
    """Version by name of each installed wheel."""
    state: State
    """``absent``: Python finds no such module. ``empty``: it finds a folder without code, and imports it without an error."""
    in_place: str = ""
    """Name of the wheel whose files are in the folder. Empty if the files do not state it."""


class Problem(Struct, frozen=True):
    """Text and the one command that repairs it."""

    text: str
    remedy: str
    broken: bool
    """True if the module cannot be used, or is not the one that the user asked for."""


def onnxruntime_wheels() -> Wheels:
    """Return the wheels of ONNX Runtime without importing it. A broken library could end the process."""
    return _wheels("onnxruntime", ONNXRUNTIME, Path("capi", "build_and_package_info.py"))


def opencv_wheels() -> Wheels:
    """Return the wheels of OpenCV without importing it."""
    return _wheels("cv2", OPENCV, None)


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def problem(wheels: Wheels) -> Problem | None:
    """Return what is wrong with the wheels of one import package, or None.

    >>> both = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    >>> found = problem(Wheels(module="onnxruntime", installed=both, state="code", in_place="onnxruntime"))
    >>> found.remedy
    'pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1'
    """
    wanted = wanted_wheel(wheels)
    remedy = repair(wheels)
    if wheels.state == "absent":
        return Problem(f"the module {wheels.module} is not installed", remedy, broken=True)
    if wheels.state == "empty":
        listed = _listed(wheels.installed) or "no wheel"
        return Problem(
            f"the module {wheels.module} is an empty folder. A wheel that shares its files was removed. "
            f"Installed according to pip: {listed}",
            remedy,
            broken=True,
        )
    if len(wheels.installed) < 2:
        return None
    place = f"The files in place are those of {wheels.in_place}" if wheels.in_place else "The last one installed wins"
    return Problem(
        f"{_listed(wheels.installed)} are installed and overwrite each other. {place}",
        remedy,
        broken=bool(wheels.in_place) and wheels.in_place != wanted,
    )


def wanted_wheel(wheels: Wheels) -> str:
    """Return the wheel that the user wants: the one that is not there by default, because it was installed on purpose.

    OpenCV is the other way round: the headless wheel does everything that andon needs.
    """
    default = ONNXRUNTIME[0] if wheels.module == "onnxruntime" else OPENCV[0]
    others = [name for name in wheels.installed if name != default]
    if wheels.module != "onnxruntime":
        contrib = [name for name in wheels.installed if "contrib" in name]  # it has all of the others, and more
        return contrib[0] if contrib else default
    return others[0] if others else default


def repair(wheels: Wheels) -> str:
    """Return the command that leaves only the wanted wheel, complete, in its installed version."""
    wanted = wanted_wheel(wheels)
    removed = [name for name in wheels.installed if name != wanted]
    pinned = f"{wanted}=={wheels.installed[wanted]}" if wanted in wheels.installed else wanted
    install = f"pip install --force-reinstall --no-deps {pinned}"
    if not wheels.installed:  # its dependencies are then missing, too
        install = f"pip install {wanted}"
    return " && ".join([*([f"pip uninstall -y {' '.join(removed)}"] if removed else []), install])


def _listed(installed: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {number}" for name, number in installed.items())


def _wheels(module: str, names: Sequence[str], stamp: Path | None) -> Wheels:
    installed = versions(names)
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module without a spec, which a program has put into sys.modules
        spec = None
    if spec is None:
        return Wheels(module=module, installed=installed, state="absent")
    if spec.origin is None:  # a namespace package: a folder without __init__.py
        return Wheels(module=module, installed=installed, state="empty")
    in_place = ""
    if stamp is not None:
        try:
            text = (Path(spec.origin).parent / stamp).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        found = re.search(r"^package_name\s*=\s*['\"]([\w.-]+)['\"]", text, re.MULTILINE)
        in_place = found[1] if found else ""
    return Wheels(module=module, installed=installed, state="code", in_place=in_place)
