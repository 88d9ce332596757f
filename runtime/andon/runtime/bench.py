"""Measure how fast a model file judges on this machine: latency, throughput and memory.

Timings on shared machines mean little by themselves. Therefore one run alternates between all measurements, and the latency
is also given as a ratio to a matrix product on the same machine.
"""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError
from andon.foundation.progress import Progress, silent
from andon.runtime.detector import Detector
from andon.runtime.grey_levels import raw_levels
from andon.runtime.model_file.format import OUTPUTS, read
from andon.runtime.model_file.protobuf import bytes_field, varint_field
from andon.runtime.schema import FrameSpec, InputSpec
from andon.runtime.session import Device, onnxruntime, open_session
from andon.runtime.typical_window import typical

GEMM_SIDE = 1024
DEFAULT_FRAME = (1080, 1920)
MAX_VALUES = 50_000_000
"""Largest item, in pixels of a frame or values of a window. A forged file could ask for all memory of the machine."""


class Bench(Struct, frozen=True, kw_only=True):
    """Results of one run. Times are wall-clock milliseconds per call, and medians except for the p99."""

    model: str
    device: str
    item_shape: tuple[int, ...]
    calls: int
    latency_ms: float
    latency_p99_ms: float
    bare_session_ms: float
    """Latency of a bare ONNX Runtime session without andon. Its calls alternate with the calls of the detector."""
    overhead_ms: float
    """Median difference between a call of the detector and the bare call next to it."""
    per_second_one_caller: float
    per_second_one_caller_two_threads: float
    per_second_two_callers: float
    gemm_ms: float
    """Time of a product of two float32 matrices of 1024 x 1024 on one thread, by ONNX Runtime, in the same loop."""
    gemm_share: float
    """`latency_ms` divided by `gemm_ms`."""
    resident_mb: float | None
    """Resident memory of the process after the first verdicts of one detector, before anything else was opened."""
    file_mb: float


def bench(
    path: Path | str,
    *,
    device: Device = "cpu",
    frame_size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    progress: Progress = silent,
) -> Bench:
    """Measure latency, throughput and memory of a model file.

    Args:
        path: the model file.
        device: the device to run on.
        frame_size: height and width of the synthetic raw frame. None means the calibrated size, or 1080 x 1920 without one.
        seconds: length of each of the four measurements.
        progress: called after each step.

    Raises:
        ModelFileError, DeviceError: see `Detector.load`.
        ConfigError: `frame_size` was given for a file that judges windows, the frame is too small, or the frame or window
            is too large to measure.
    """
    model = read(path)
    item = sample_item(path, model.card.input, frame_size)
    one = Detector.load(path, device=device, threads=1, frame_size="any", provider="any")
    for _ in range(5):
        one(item)
    resident = resident_mb()  # before the bare session and the matrices, which a line does not need
    bare = open_session(model.data, device=device, threads=1)
    names = [*OUTPUTS, *model.card.outputs]
    feed = {"frame" if isinstance(model.card.input, FrameSpec) else "window": item[np.newaxis]}
    gemm, product = _gemm()
    for _ in range(5):
        one(item), bare.run(names, feed), gemm(product)
    judged: list[float] = []
    plain: list[float] = []
    multiplied: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or len(judged) < 20:
        judged.append(_timed(lambda: one(item)))
        plain.append(_timed(lambda: bare.run(names, feed)))
        if len(judged) % 4 == 0:
            multiplied.append(_timed(lambda: gemm(product)))
        progress("latency", len(judged), None)
    two_threads = Detector.load(path, device=device, threads=2, frame_size="any", provider="any")
    rates = []
    for detector, callers in ((one, 1), (two_threads, 1), (one, 2)):
        rates.append(_rate(detector, item, callers, seconds))
        progress("throughput", len(rates), 3)
    latency, gemm_ms = float(np.median(judged)), float(np.median(multiplied))
    return Bench(
        model=model.short_digest,
        device=one.device,
        item_shape=item.shape,
        calls=len(judged),
        latency_ms=latency,
        latency_p99_ms=float(np.quantile(judged, 0.99)),
        bare_session_ms=float(np.median(plain)),
        overhead_ms=float(np.median(np.array(judged) - np.array(plain))),
        per_second_one_caller=rates[0],
        per_second_one_caller_two_threads=rates[1],
        per_second_two_callers=rates[2],
        gemm_ms=gemm_ms,
        gemm_share=latency / gemm_ms,
        resident_mb=resident,
        file_mb=len(model.data) / 1e6,
    )


def resident_mb() -> float | None:
    """Return the resident memory of this process in MB, or None where the system has no ``/proc``."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    import resource

    return pages * resource.getpagesize() / 1e6


def sample_item(path: Path | str, spec: InputSpec, frame_size: tuple[int, int] | None) -> NDArray[Any]:
    """Return a random item for a model file, always the same one.

    Raises:
        ConfigError: see `bench`.
    """
    if frame_size is not None and not isinstance(spec, FrameSpec):
        raise ConfigError(
            f"--frame: expected a model file for frames, got {path}, which judges windows of sensor data. Leave the flag out."
        )
    return _item(spec, frame_size)


def _item(spec: InputSpec, frame_size: tuple[int, int] | None) -> NDArray[Any]:
    """Return a random item (from a seed) with the input shape of the model file.

    It contains smooth shapes and noise, so it passes the contrast check.
    """
    generator = np.random.default_rng(0)
    if isinstance(spec, FrameSpec):
        height, width = frame_size or spec.frame_size or DEFAULT_FRAME
        if min(height, width) < 16 or height * width > MAX_VALUES:
            raise ConfigError(
                f"frame size: expected at least 16 x 16 and at most {MAX_VALUES // 10**6} million pixels, got {height} x "
                f"{width}. Give another one, for example --frame 1080x1920."
            )
        across = 80 * np.cos(np.arange(width) / 53.0)[:, np.newaxis]
        frame = np.empty((height, width, spec.channels), spec.dtype)
        for row in range(height):  # whole planes of float64 would add to the resident memory that is measured
            noise = generator.integers(-20, 20, (width, spec.channels))
            frame[row] = raw_levels(128 + np.sin(row / 37.0) * across + noise, spec)
        return frame
    values = spec.steps * len(spec.channels)
    if values > MAX_VALUES:
        raise ConfigError(
            f"window: expected at most {MAX_VALUES // 10**6} million values, got {values}. Measure a file with shorter windows."
        )
    usual = typical(spec)
    rows = usual.center + usual.scale * generator.normal(size=(spec.steps, len(spec.channels)))
    window: NDArray[np.float32] = rows.astype(np.float32)
    return window


def _gemm() -> tuple[Any, Any]:
    """Return a float32 matrix product and its inputs. ONNX Runtime computes it on one thread, without BLAS threads."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(_gemm_model(), options, providers=["CPUExecutionProvider"])
    matrix = np.random.default_rng(0).normal(size=(GEMM_SIDE, GEMM_SIDE)).astype(np.float32)
    return (lambda feed: session.run(["c"], feed)), {"a": matrix, "b": matrix.copy()}


def _gemm_model() -> bytes:
    """Return an ONNX graph with one MatMul, encoded here because the runtime does not depend on the onnx package."""

    def tensor(name: bytes, number: int) -> bytes:
        dimension = bytes_field(1, bytes_field(2, b"n"))
        kind = bytes_field(1, varint_field(1, 1) + bytes_field(2, dimension + dimension))
        return bytes_field(number, bytes_field(1, name) + bytes_field(2, kind))

    node = bytes_field(1, b"a") + bytes_field(1, b"b") + bytes_field(2, b"c") + bytes_field(4, b"MatMul")
    graph = bytes_field(1, node) + bytes_field(2, b"gemm") + tensor(b"a", 11) + tensor(b"b", 11) + tensor(b"c", 12)
    return varint_field(1, 10) + bytes_field(7, graph) + bytes_field(8, varint_field(2, 20))


def _timed(call: Any) -> float:
    start_s = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start_s)


def _rate(detector: Detector, item: NDArray[Any], callers: int, seconds: float) -> float:
    """Return the items per second over all callers of one detector."""
    counts = [0] * callers
    start_s = time.perf_counter()

    def work(place: int) -> None:
        while time.perf_counter() - start_s < seconds:
            detector(item)
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start_s)
