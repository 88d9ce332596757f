"""Cameras without hardware: the GenTL producer in the package genicam, and the emulator in pypylon.

Their drivers run in the process of a camera, except in the few tests that look into a device.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_genicam = pytest.mark.skipif(
    find_spec("harvesters") is None or find_spec("genicam") is None,
    reason="needs harvesters and genicam: pip install 'andon[genicam]'",
)
needs_basler = pytest.mark.skipif(find_spec("pypylon") is None, reason="needs pypylon: pip install 'andon[basler]'")


def viky() -> str:
    """Return the file of a GenTL producer with three cameras, with the serial numbers 0, 1 and 2."""
    found = find_spec("genicam")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "viky.cti")


def emulate_basler() -> None:
    """Let pylon emulate two cameras in the processes that this process starts from now on."""
    os.environ["PYLON_CAMEMU"] = "2"
