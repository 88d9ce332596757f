"""Measure the peak memory of a process of its own that loads a model file and judges frames with it.

The process has numpy, ONNX Runtime and andon's runtime, one thread, and one frame at a time: what an inspection program needs at
least. Run as a module, this file is the program of that process.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from andon.runtime.detector import Detector
from andon.runtime.model_file.format import parse
from andon.runtime.schema import FrameSpec
from andon.runtime.session import open_session

FRAMES = 2
TIMEOUT_S = 600.0


def peak_memory_mb(data: bytes) -> float | None:
    """Return the peak memory of a process that judges frames of the calibrated size, in MB.

    Args:
        data: a model file for frames of one size. It may be blank.

    Returns:
        None if it cannot be measured on this system, or if the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                [sys.executable, "-m", "andon.runtime.peak_memory", str(path)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    text = done.stdout.strip()
    return int(text) / 1e6 if done.returncode == 0 and text.isdigit() else None


def peak_bytes() -> int | None:
    """Return the peak resident memory of this process so far, in bytes; None if the system does not state it.

    The counter of `resource.getrusage` starts with the peak of the parent process, so it is not used.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(found[0][1]) if found else None


def main(path: str) -> None:
    """Judge frames of noise and print the peak memory in bytes."""
    model = parse(Path(path).read_bytes(), allow_blank=True)
    spec = model.card.input
    assert isinstance(spec, FrameSpec)
    assert spec.frame_size is not None
    detector = Detector(model, open_session(model.data))
    generator = np.random.default_rng(0)
    top = 256 if spec.dtype == "uint8" else 65536
    for _ in range(FRAMES):
        detector.measure([generator.integers(0, top, (*spec.frame_size, spec.channels), spec.dtype)], "score")
    print(peak_bytes() or "unknown")


if __name__ == "__main__":
    main(sys.argv[1])
