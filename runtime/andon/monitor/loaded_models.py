"""Load each model file of a process once. Lines that use the same file in the same way share one session of ONNX Runtime.

A session keeps its weights and its working memory. It holds no state between two calls, and several threads may call it at the
same time. So verdicts of lines that share a session are the same, bit for bit, as with a session for each line. Each line still
makes its own calls, one frame at a time, in its own thread: no line waits for the call of another one.
"""

import weakref
from pathlib import Path
from typing import NamedTuple

from andon.foundation.errors import ModelFileError
from andon.runtime.detector import Detector, FrameSize
from andon.runtime.model_file.format import read
from andon.runtime.session import Device


class _Use(NamedTuple):
    """A file and how it is used. Equal uses share a session."""

    digest: str
    """Digest of the whole file. The path does not count: a replaced file is another one, and a copy is the same one."""
    device: Device
    threads: int
    frame_size: FrameSize


class LoadedModels:
    """The model files in use. A file is freed when the last line that uses it has another one, or is freed itself."""

    def __init__(self) -> None:
        self._detectors: weakref.WeakValueDictionary[_Use, Detector] = weakref.WeakValueDictionary()

    def load(self, path: Path | str, *, device: Device, threads: int, frame_size: FrameSize) -> Detector:
        """Read and check a model file, and return its detector: one that is in use, or a new one.

        The file is read in any case. Call it from one thread at a time: two threads might load the same file twice.

        Args:
            path: the model file.
            device: see `Detector.load`.
            threads: see `Detector.load`.
            frame_size: see `Detector.load`.

        Raises:
            ModelFileError, DeviceError: see `Detector.load`.
        """
        model = read(path)
        use = _Use(model.digest, device, threads, frame_size)
        detector = self._detectors.get(use)
        if detector is None:
            try:
                detector = Detector.open(model, device=device, threads=threads, frame_size=frame_size)
            except ModelFileError as error:
                raise ModelFileError(f"{path}: {error}") from error
            self._detectors[use] = detector
        return detector
