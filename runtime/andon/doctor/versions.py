"""List the versions that a report of a problem needs."""

from collections.abc import Mapping

from andon.doctor.finding import Finding

PACKAGES = (
    "andon",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "msgspec",
    "opencv-python-headless",
    "scipy",
    "torch",
    "pyarrow",
    "ray",
)
"""Packages whose version is listed if they are installed."""
REQUIRED = ("andon", "numpy", "msgspec")
"""Packages of the base install. ONNX Runtime has a check of its own."""
OLDEST_PYTHON = (3, 11)


def check_versions(python: tuple[int, int, int], system: str, packages: Mapping[str, str]) -> list[Finding]:
    """Return the versions, and whether the base install is complete.

    Args:
        python: version of the interpreter.
        system: operating system and processor type, readable.
        packages: version by name of the installed packages.
    """
    number = ".".join(map(str, python))
    old = python[:2] < OLDEST_PYTHON
    findings = [
        Finding(
            subject="python",
            ok=not old,
            text=f"{number} on {system}" + (", but andon needs 3.11 or newer" if old else ""),
            remedy="Install Python 3.11 or newer, and andon in a new environment of it." if old else "",
        )
    ]
    missing = [name for name in REQUIRED if name not in packages]
    listed = ", ".join(f"{name} {packages[name]}" for name in PACKAGES if name in packages)
    findings.append(
        Finding(
            subject="packages",
            ok=not missing,
            text=listed + (f"; without metadata: {', '.join(missing)}" if missing else ""),
            remedy=f"pip install {' '.join(missing)}" if missing else "",
        )
    )
    return findings
