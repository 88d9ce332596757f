"""Open ONNX Runtime sessions: bounded threads, no telemetry, and the requested device or an error."""

import logging
import operator
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Literal, NamedTuple

from andon.foundation.errors import DeviceError, JudgeError, ModelFileError
from andon.foundation.printable import printable
from andon.runtime.interpreter_exit import CALLS

logger = logging.getLogger(__name__)

Device = Literal["cpu", "cuda", "auto"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off, and return the module.

    Official Linux wheels send telemetry by default since 1.29 (microsoft/onnxruntime#27379) and read this variable once,
    at the first import in a process.
    """
    if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        logger.warning(
            "onnxruntime was imported before andon, with its telemetry on: set ORT_DISABLE_TELEMETRY=1 before its first import"
        )
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort

    return ort


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
    if device == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        # without enable_fallback=0 ORT replaces a failed provider by the CPU and prints a line on stdout
        with CALLS:
            session = ort.InferenceSession(data, options, providers=[provider], enable_fallback=0)
    except JudgeError:
        raise
    except Exception as error:
        if device == "cuda":
            raise DeviceError(f"device: cuda does not work: {first_line(error)}. {_gpu_advice()}") from error
        raise ModelFileError(f"ONNX Runtime cannot load the graph: {first_line(error)}") from error
    if session.get_providers()[0] != provider:
        raise DeviceError(
            f"device: expected {device}, got {session.get_providers()[0]}, because ONNX Runtime fell back to it. {_gpu_advice()}"
        )
    return Session(session.run, device)


def first_line(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, printable, without the C++ details below. Never empty."""
    return printable((str(error).strip() or type(error).__name__).split("\n", 1)[0].rstrip())


def _gpu_advice() -> str:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(both) == 2:
        return (
            "Both onnxruntime and onnxruntime-gpu are installed and overwrite each other: "
            "pip uninstall onnxruntime && pip install --force-reinstall onnxruntime-gpu"
        )
    return "For CUDA: pip uninstall onnxruntime && pip install --force-reinstall onnxruntime-gpu"


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
