"""Load a model file and judge frames or windows with it: the part that an inspection program embeds."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DeviceError, InputError, JudgeError, ModelFileError
from andon.runtime.interpreter_exit import CALLS
from andon.runtime.model_file.format import OUTPUTS, ModelFile, parse, read
from andon.runtime.schema import Card, FrameSpec, Reason, Status, WindowSpec
from andon.runtime.session import Device, Session, first_line, open_session
from andon.runtime.verdict import Verdict

logger = logging.getLogger(__name__)

FrameSize = Literal["calibrated", "any"]


class Detector:
    """A loaded model file. Two threads may call the same detector at once.

    The end of the interpreter waits up to 5 s for the calls of daemon threads, because ending within one would abort the
    process. A thread that calls later gets a `JudgeError`. Better stop and join the threads that judge before the program
    ends.

    Use `Detector.load`; the constructor takes an already checked file.

    Raises:
        ConfigError: another `frame_size` than ``calibrated`` and ``any``.
    """

    def __init__(self, model: ModelFile, session: Session, *, frame_size: FrameSize = "calibrated") -> None:
        if frame_size not in get_args(FrameSize):
            raise ConfigError(f"expected frame_size 'calibrated' or 'any', got {frame_size!r}.")
        self._model = model
        self._session = session
        self._spec = model.card.input
        # None only in a blank file, which `parse` refuses unless calibration itself asks for it
        calibration = model.card.calibration
        self._good_scale = calibration.good_scale if calibration else 0.0
        self._any_size = frame_size == "any"
        self._evidence = model.card.outputs
        self._names = [*OUTPUTS, *self._evidence]
        self._input = "frame" if isinstance(self._spec, FrameSpec) else "window"
        self._median = calibration.good_median if calibration else float("nan")
        span = model.threshold - self._median
        self._per_span = 1.0 / span if span > 0 else float("nan")
        self._threshold = model.threshold
        self._digest = model.short_digest

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: Device = "cpu",
        threads: int = 1,
        frame_size: FrameSize = "calibrated",
    ) -> "Detector":
        """Read, check and load a model file.

        Args:
            path: the ``.onnx`` file.
            device: ``cpu``, ``cuda`` (strict) or ``auto``.
            threads: of one call.
            frame_size: ``any`` judges frames of other sizes than the calibrated one; the promise is then not about them.

        Raises:
            ModelFileError: the file is damaged, forged, blank or of another schema.
            DeviceError: the device is not there, or computes something else than the file's golden sample expects.
            InputError: `path` is no path.
            ConfigError: another `frame_size`.
        """
        if not isinstance(path, str | os.PathLike):
            raise InputError(
                f"expected the path of a model file, got {type(path).__name__}: give a str or a pathlib.Path; "
                "Detector.from_bytes takes what a file holds."
            )
        model = read(path)
        try:
            return cls._open(model, device=device, threads=threads, frame_size=frame_size)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(
        cls, data: bytes, *, device: Device = "cpu", threads: int = 1, frame_size: FrameSize = "calibrated"
    ) -> "Detector":
        """Do the same as `load` from the bytes of a file, for programs that fetch it elsewhere."""
        if not isinstance(data, bytes):
            raise InputError(
                f"expected the bytes of a model file, got {type(data).__name__}: give bytes; Detector.load takes a path."
            )
        return cls._open(parse(data), device=device, threads=threads, frame_size=frame_size)

    @classmethod
    def _open(cls, model: ModelFile, *, device: Device, threads: int, frame_size: FrameSize) -> "Detector":
        detector = cls(model, open_session(model.data, device=device, threads=threads), frame_size=frame_size)
        if detector.device != model.card.provider:
            try:
                detector.verify()
            except DeviceError as error:
                if device != "auto" or detector.device == "cpu":
                    raise
                logger.warning("%s: running on the CPU instead", error)
                return cls._open(model, device="cpu", threads=threads, frame_size=frame_size)
        return detector

    @property
    def card(self) -> Card:
        """Return what the file says of itself."""
        return self._model.card

    @property
    def model(self) -> ModelFile:
        """Return the checked file: digests, threshold, golden sample, calibration log."""
        return self._model

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Return the device that it runs on."""
        return self._session.device

    @property
    def threshold(self) -> float:
        """Return the threshold: REJECT where a score is strictly above it."""
        return self._model.threshold

    def __call__(self, item: NDArray[Any]) -> Verdict:
        """Judge one frame, uint8 ``[H, W, C]`` (RGB, or ``[H, W]`` where C = 1), or one window, float32 ``[T, C]``.

        Raises:
            InputError: another type, rank, size or number of channels than the file was calibrated for.
            JudgeError: ONNX Runtime failed although the input was right, for example for lack of memory; or the
                interpreter is ending (`andon.runtime.interpreter_exit`).
            DeviceError: the same on a GPU.
        """
        return self._judge(self._prepared(item)[np.newaxis])[0]

    def batch(self, items: Sequence[NDArray[Any]]) -> list[Verdict]:
        """Judge several frames of one size, or several windows, in one run.

        Raises:
            InputError: as `__call__`, frames of different sizes, or a generator, which might never end.
            JudgeError, DeviceError: as `__call__`.
        """
        try:
            count = len(items)
        except TypeError as error:
            raise InputError(
                f"expected a list or an array of frames or windows, got {type(items).__name__}: use "
                "detector.batch(list(items)), or detector(item) for one."
            ) from error
        if not count:
            return []
        prepared = [self._prepared(item) for item in items]
        if len({item.shape for item in prepared}) > 1:
            raise InputError(
                f"a batch holds frames of one size, got {sorted({item.shape for item in prepared})}: judge them one by one."
            )
        return self._judge(np.stack(prepared))

    def verify(self) -> None:
        """Judge the file's golden sample on this machine.

        Raises:
            DeviceError: score or evidence differ by more than the file's tolerance: this device must not judge.
            JudgeError: ONNX Runtime failed on the sample.
        """
        golden = self._model.golden
        if golden is None:
            raise DeviceError("the file holds no golden sample to verify this device with.")
        score, *evidence = self._run(golden.input.array()[np.newaxis], ["score", *golden.evidence])
        got, expected = float(score[0]), golden.score
        relative = self._model.card.tolerance
        tolerance = relative * max(abs(expected), self._good_scale)
        if not abs(got - expected) <= tolerance:  # so that NaN does not pass
            raise DeviceError(
                f"the golden sample scores {got:.9g} on this {self.device}, expected {expected:.9g} (tolerance "
                f"{tolerance:.3g}): it computes something else than where the threshold was calibrated."
            )
        for (name, packed), array in zip(golden.evidence.items(), evidence, strict=True):
            wanted = packed.array()
            # evidence is not decided by: single cells may differ more than what is pooled from them
            largest = max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
            if array[0].shape != wanted.shape or not (np.abs(array[0] - wanted) <= 10 * relative * largest).all():
                raise DeviceError(f"the golden sample's {name} differs on this {self.device} beyond the tolerance.")

    def _prepared(self, item: NDArray[Any]) -> NDArray[Any]:
        """Return the item as the graph wants it, without a copy where it fits already, or raise `InputError`."""
        spec = self._spec
        if not isinstance(item, np.ndarray):
            raise InputError(f"expected a numpy array, got {type(item).__name__}.")
        if isinstance(item, np.ma.MaskedArray):
            raise InputError(
                "expected a plain numpy array, got a masked one, whose mask would be lost. Give item.filled(numpy.nan) for "
                "windows, which makes them INVALID, or a fill value that is right for your data."
            )
        if isinstance(spec, WindowSpec):
            shape = (spec.steps, len(spec.channels))
            if item.dtype != np.float32:
                raise InputError(
                    f"expected a float32 window {list(shape)}, got {item.dtype}: use window.astype('float32')."
                )
            if item.shape != shape:
                raise InputError(
                    f"expected a window of {shape[0]} steps x {shape[1]} channels, got shape {list(item.shape)}."
                )
            return item
        if item.dtype != np.uint8:
            raise InputError(
                f"expected a uint8 frame, got {item.dtype}: frames of other depths must be converted as in calibration."
            )
        if item.ndim == 2 and spec.channels == 1:
            item = item[:, :, np.newaxis]
        wanted = f"[H, W, {spec.channels}] ({'RGB' if spec.channels == 3 else 'grey'})"
        if item.ndim != 3 or item.shape[2] != spec.channels:
            raise InputError(f"expected a frame {wanted}, got shape {list(item.shape)}.")
        if min(item.shape[:2]) < 16:
            raise InputError(f"expected a frame of at least 16 x 16 pixels, got {item.shape[0]} x {item.shape[1]}.")
        if not self._any_size and spec.frame_size is not None and item.shape[:2] != tuple(spec.frame_size):
            raise InputError(
                f"expected frames of {spec.frame_size[0]} x {spec.frame_size[1]} (height x width) as calibrated, got "
                f"{item.shape[0]} x {item.shape[1]}: was the camera changed? The promise is about the old picture. "
                "Calibrate anew, or load with frame_size='any' and without a promise."
            )
        return item

    def _judge(self, batch: NDArray[Any]) -> list[Verdict]:
        score, status, reason, threshold, p_value, *evidence = self._run(batch, self._names)
        for array in evidence:
            array.setflags(write=False)  # and with it the rows of each verdict, which are views
        scores, thresholds = score.tolist(), threshold.tolist()
        return [
            Verdict(
                status=self._status(int(status[row]), scores[row], thresholds[row]),
                reason=Reason(int(reason[row])),
                score=scores[row],
                threshold=thresholds[row],
                p_value=float(p_value[row]),
                level=(scores[row] - self._median) * self._per_span,
                evidence=MappingProxyType(
                    {name: array[row] for name, array in zip(self._evidence, evidence, strict=True)}
                ),
                model=self._digest,
            )
            for row in range(len(batch))
        ]

    def _status(self, status: int, score: float, threshold: float) -> Status:
        """Return the graph's status, or raise `ModelFileError` where graph or device contradict themselves."""
        rejects = not score <= threshold
        consistent = status == Status.INVALID or (status <= Status.REJECT and rejects == (status == Status.REJECT))
        if not consistent or not (threshold == self._threshold or math.isnan(self._threshold)):
            raise ModelFileError(
                f"the graph answered status {status} to a score of {score:.9g} with the threshold {threshold:.9g}, while "
                f"the file's is {self._threshold:.9g}: forged, or not fit for this {self.device}."
            )
        return Status(status)

    def _run(self, batch: NDArray[Any], names: list[str]) -> list[NDArray[Any]]:
        try:
            with CALLS:
                outputs: list[NDArray[Any]] = self._session.run(names, {self._input: np.ascontiguousarray(batch)})
        except JudgeError:
            raise
        except Exception as error:
            # `_prepared` has checked the input, so that it cannot be at fault here
            kind = DeviceError if self.device == "cuda" else JudgeError
            raise kind(
                f"ONNX Runtime could not judge an input of shape {list(batch.shape)}, although its type and size are right: "
                f"{first_line(error)}. Is there enough memory?"
            ) from error
        for name, output in zip(names, outputs, strict=True):
            if len(output.shape) == 0 or len(output) != len(batch) or (name in OUTPUTS and output.ndim != 1):
                raise ModelFileError(f"the graph gave {name} of shape {list(output.shape)} for {len(batch)} items.")
        return outputs
