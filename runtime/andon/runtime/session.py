"""Open ONNX Runtime sessions: bounded threads, no telemetry, and the requested device or an error."""

import contextlib
import io
import logging
import operator
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from andon.foundation.cuda_libraries import PROVIDER, install_line, libraries_in, missing_libraries, needed_libraries
from andon.foundation.errors import DeviceError, JudgeError, ModelFileError
from andon.foundation.printable import printable
from andon.foundation.rival_wheels import onnxruntime_wheels, problem, repair
from andon.runtime.interpreter_exit import CALLS

logger = logging.getLogger(__name__)

Device = Literal["cpu", "cuda", "auto"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PROVIDER_OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "cpu": MappingProxyType({}),
        "cuda": MappingProxyType(
            {
                # the default takes twice the memory at each growth
                "arena_extend_strategy": "kSameAsRequested",
                # the default searches for seconds again for each new frame size
                "cudnn_conv_algo_search": "HEURISTIC",
                # TF32 has 10 bits of mantissa: scores would differ from those of the calibration
                "use_tf32": "0",
            }
        ),
    }
)


def onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off, and return the module.

    Official Linux wheels send telemetry by default since 1.29 (microsoft/onnxruntime#27379) and read this variable once,
    at the first import in a process.

    Raises:
        DeviceError: the module is missing, empty or incomplete. The message has the command that repairs it.
    """
    if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        logger.warning(
            "onnxruntime was imported before andon, with its telemetry on: set ORT_DISABLE_TELEMETRY=1 before its first import"
        )
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise DeviceError(_broken(f"the import fails: {first_line(error)}")) from error
    if not hasattr(ort, "InferenceSession"):
        raise DeviceError(_broken("the module has no sessions"))
    return ort


def _broken(what: str) -> str:
    """Return the error for a module that cannot be used."""
    wheels = onnxruntime_wheels()
    found = problem(wheels)
    what = found.text if found is not None and found.broken else what
    return f"ONNX Runtime: expected a module that works, but {what}. Run: {repair(wheels)}"


MAX_THREADS = 64
"""Upper limit of threads per call. More never helped in benchmarks, and the limit also catches typing errors."""


class Session(NamedTuple):
    """An ONNX Runtime session and the device that it actually uses."""

    run: Any
    """``run(output_names, feed)``."""
    device: Literal["cpu", "cuda"]


def open_session(data: bytes, *, device: Device = "cpu", threads: int = 1) -> Session:
    """Open a session for the bytes of a model file.

    Args:
        data: the model file.
        device: ``cuda`` raises an error without CUDA. ``auto`` uses CUDA if it works, else the CPU.
        threads: threads per call, 1 to 64. Two callers with one thread each have more throughput than one with two threads.

    Raises:
        DeviceError: the device is missing, or an argument is out of range.
        ModelFileError: ONNX Runtime cannot load the graph.
        JudgeError: the interpreter is ending.
    """
    if device not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}.")
    # in Python a bool is an integer, and True would mean one thread
    if isinstance(threads, bool) or not hasattr(threads, "__index__") or not 1 <= threads <= MAX_THREADS:
        raise DeviceError(f"threads: expected an integer from 1 to {MAX_THREADS}, got {threads!r}. Example: threads=1.")
    threads = operator.index(threads)
    if device == "auto":
        try:
            return _open(data, "cuda", threads)
        except DeviceError as error:
            logger.info("no CUDA (%s): running on the CPU", error)
            return _open(data, "cpu", threads)
    return _open(data, device, threads)


def _open(data: bytes, device: Literal["cpu", "cuda"], threads: int) -> Session:
    ort = onnxruntime()
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise DeviceError(
            f"device: expected an onnxruntime with {provider} for {device}, got one with "
            f"{', '.join(ort.get_available_providers())}. {_gpu_advice()}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # for frames of any size the pattern is cached for each shape: this costs memory and brings no speed
    options.enable_mem_pattern = False
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # errors are raised as exceptions, and ORT would print them too. The process-wide default belongs to the host program.
    options.log_severity_level = 4
    # otherwise ONNX Runtime reads bytes with ORTM at 4 to 7 as its own format and runs a model that andon never checked
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    printed = _preload(ort) if device == "cuda" else ""
    try:
        # without enable_fallback=0 ORT replaces a failed provider by the CPU and prints a line on stdout
        with CALLS:
            session = ort.InferenceSession(
                data,
                options,
                providers=[provider],
                provider_options=[dict(_PROVIDER_OPTIONS[device])],
                enable_fallback=0,
            )
    except JudgeError:
        raise
    except Exception as error:
        if device == "cuda":
            raise DeviceError(
                f"device: cuda does not work: {first_line(error)}. {_cuda_advice(ort, f'{error} {printed}')}"
            ) from error
        raise ModelFileError(f"ONNX Runtime cannot load the graph: {first_line(error)}") from error
    # a list of available providers proves nothing: only the opened session counts
    if session.get_providers()[0] != provider:
        raise DeviceError(
            f"device: expected {device}, got {session.get_providers()[0]}, because ONNX Runtime fell back to it. "
            f"{_cuda_advice(ort, printed)}"
        )
    return Session(session.run, device)


def first_line(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, printable, without the C++ details below. Never empty."""
    return printable((str(error).strip() or type(error).__name__).split("\n", 1)[0].rstrip())


def _preload(ort: Any) -> str:
    """Load the CUDA libraries that pip installed. Return what ONNX Runtime prints about missing ones."""
    printed = io.StringIO()
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(printed):
            ort.preload_dlls()
    return printed.getvalue()


def _cuda_advice(ort: Any, printed: str) -> str:
    """Return the libraries that are missing and the command that installs them, or the general advice about wheels.

    Args:
        ort: the module onnxruntime.
        printed: messages of ONNX Runtime, which may name libraries.
    """
    folder = getattr(ort, "__file__", None)
    needed = needed_libraries(Path(folder).parent / "capi" / PROVIDER) if folder else ()
    missing = list(dict.fromkeys([*missing_libraries(needed), *libraries_in(printed)]))
    if not missing:
        return _gpu_advice()
    version = onnxruntime_wheels().installed.get("onnxruntime-gpu", "")
    return f"Missing libraries: {', '.join(missing)}. Run: {install_line(version)}"


def _gpu_advice() -> str:
    wheels = onnxruntime_wheels()
    found = problem(wheels)
    if "onnxruntime-gpu" not in wheels.installed:
        return "For CUDA: pip uninstall -y onnxruntime && pip install --force-reinstall 'onnxruntime-gpu[cuda,cudnn]'"
    if found is not None:
        return f"{found.text}. Run: {found.remedy}"
    return "Run 'andon doctor': it shows whether the driver and the GPU can be used."
