"""Import packages and open sessions in this process, and print one JSON object. The doctor runs it as a child process.

    python -m andon.doctor.probe MODULE ...

A broken library can end a process, and some print on standard output. So nothing of this happens in the doctor itself. For
``onnxruntime`` a session with one node is opened for each provider, because a list of providers proves nothing.
"""

import contextlib
import ctypes
import importlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from andon.foundation.cuda_libraries import DRIVER, PROVIDER, libraries_in, missing_libraries, needed_libraries

ONE_NODE = (
    b'\x08\x08\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""A model with the node Identity, IR version 8, operator set 13."""

CUDA = "CUDAExecutionProvider"


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a session with one node that was asked for one provider."""

    provider: str
    runs_on: str = ""
    """The provider that runs the node. Empty if no session was opened."""
    error: str = ""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the import of one package."""

    module: str
    error: str = ""
    """Readable error of the import, or of the end of the process. Empty if it worked."""
    version: str = ""
    """``__version__`` of the module."""
    opened: tuple[Opened, ...] = ()
    """For ONNX Runtime: one session for each listed provider."""
    missing: tuple[str, ...] = ()
    """For ONNX Runtime with CUDA: the libraries of NVIDIA that it needs and that cannot be loaded."""
    driver: bool = False
    """For ONNX Runtime: True if the driver of NVIDIA is installed."""


def main(modules: list[str]) -> None:
    """Print the results of all modules."""
    answer = os.dup(1)
    os.dup2(2, 1)  # other packages print on standard output
    results = [_imported(module) for module in modules]
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(json.dumps(msgspec.to_builtins(results)))
    sys.stdout.flush()
    os._exit(0)  # some libraries end a process with an error while they are unloaded


def _imported(name: str) -> Imported:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a package can raise anything while it is imported
        return Imported(module=name, error=f"{type(error).__name__}: {error}")
    version = str(getattr(module, "__version__", ""))
    if name != "onnxruntime" or not hasattr(module, "InferenceSession"):
        return Imported(module=name, version=version)
    printed = io.StringIO()
    if hasattr(module, "preload_dlls"):
        with contextlib.redirect_stdout(printed):
            module.preload_dlls()
    providers = module.get_available_providers()
    opened = tuple(_open(module, provider) for provider in providers)
    missing: tuple[str, ...] = ()
    if any(one.provider == CUDA and one.runs_on != CUDA for one in opened):
        needed = needed_libraries(Path(str(module.__file__)).parent / "capi" / PROVIDER)
        # cuDNN and cuFFT are loaded later, so the library does not list them, but `preload_dlls` does
        missing = tuple(dict.fromkeys([*missing_libraries(needed), *libraries_in(printed.getvalue())]))
    return Imported(
        module=name,
        version=version,
        opened=opened,
        missing=missing,
        driver=not missing_libraries([DRIVER], ctypes.CDLL),
    )


def _open(ort: Any, provider: str) -> Opened:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(ONE_NODE, options, providers=[provider], enable_fallback=0)
        return Opened(provider=provider, runs_on=session.get_providers()[0])
    except Exception as error:  # noqa: BLE001 - each provider has its own errors
        return Opened(provider=provider, error=(str(error).strip() or type(error).__name__).split("\n", 1)[0])


if __name__ == "__main__":
    main(sys.argv[1:])
