"""Load a model file and judge frames or windows with it: what an inspection program embeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from andon.runtime.errors import DeviceError, InputError, ModelFileError
from andon.runtime.model_file import OUTPUTS, ModelFile, parse, read
from andon.runtime.schema import Card, FrameSpec, Reason, Status, WindowSpec
from andon.runtime.session import Device, Session, open_session
from andon.runtime.verdict import Verdict

PARITY = 1e-4
"""Largest difference of a score between machines, relative to ``max(|score|, median |score| of good parts)``."""

_TYPES = {"tensor(uint8)": np.dtype(np.uint8), "tensor(float)": np.dtype(np.float32)}


class Detector:
    """A loaded model file. Two threads may call the same detector at once.

    Use `Detector.load`; the constructor takes an already checked file.
    """

    def __init__(
        self, model: ModelFile, session: Session, *, frame_size: Literal["calibrated", "any"] = "calibrated"
    ) -> None:
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
        self._digest = model.short_digest
        _check_session(session, model)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: Device = "cpu",
        threads: int = 1,
        frame_size: Literal["calibrated", "any"] = "calibrated",
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
        """
        return cls._open(read(path), device=device, threads=threads, frame_size=frame_size)

    @classmethod
    def from_bytes(cls, data: bytes, *, device: Device = "cpu", threads: int = 1) -> "Detector":
        """The same from the bytes of a file, for programs that fetch it elsewhere."""
        return cls._open(parse(data), device=device, threads=threads, frame_size="calibrated")

    @classmethod
    def _open(
        cls, model: ModelFile, *, device: Device, threads: int, frame_size: Literal["calibrated", "any"]
    ) -> "Detector":
        session = open_session(model.data, device=device, threads=threads)
        detector = cls(model, session, frame_size=frame_size)
        if session.device != model.card.provider:
            detector.verify()
        return detector

    @property
    def card(self) -> Card:
        """What the file says of itself."""
        return self._model.card

    @property
    def model(self) -> ModelFile:
        """The checked file: digests, threshold, golden sample, calibration log."""
        return self._model

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What it runs on."""
        return self._session.device

    @property
    def threshold(self) -> float:
        """REJECT where a score is strictly above it."""
        return self._model.threshold

    def __call__(self, item: NDArray[Any]) -> Verdict:
        """Judge one frame, uint8 ``[H, W, C]`` (RGB, or ``[H, W]`` where C = 1), or one window, float32 ``[T, C]``.

        Raises:
            InputError: another type, rank, size or number of channels than the file was calibrated for.
        """
        return self._judge(self._prepared(item)[np.newaxis])[0]

    def batch(self, items: Sequence[NDArray[Any]]) -> list[Verdict]:
        """Judge several frames of one size, or several windows, in one run.

        Raises:
            InputError: as `__call__`, or frames of different sizes.
        """
        if not len(items):
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
            DeviceError: score or evidence differ by more than the parity tolerance: this device must not judge.
        """
        golden = self._model.golden
        if golden is None:
            raise DeviceError("the file holds no golden sample to verify this device with.")
        outputs = self._run(golden.input.array()[np.newaxis], ["score", *golden.evidence])
        unit = max(abs(golden.score), self._good_scale)
        off = abs(float(outputs[0][0]) - golden.score)
        if not off <= PARITY * unit:
            raise DeviceError(
                f"the golden sample scores {float(outputs[0][0]):.9g} on this {self.device}, expected {golden.score:.9g} "
                f"(tolerance {PARITY * unit:.3g}): it computes something else than where the threshold was calibrated."
            )
        for (name, expected), got in zip(golden.evidence.items(), outputs[1:], strict=True):
            wanted = expected.array()
            largest = float(np.abs(wanted).max(initial=0.0))
            if got[0].shape != wanted.shape or not np.abs(got[0] - wanted).max(initial=0.0) <= 10 * PARITY * max(
                largest, 1e-6
            ):
                raise DeviceError(f"the golden sample's {name} differs on this {self.device} beyond the tolerance.")

    def _prepared(self, item: NDArray[Any]) -> NDArray[Any]:
        """The item as the graph wants it, or a clear refusal. No copy where it fits already."""
        spec = self._spec
        if not isinstance(item, np.ndarray):
            raise InputError(f"expected a numpy array, got {type(item).__name__}.")
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
        return [
            Verdict(
                status=Status(status[row]),
                reason=Reason(reason[row]),
                score=float(score[row]),
                threshold=float(threshold[row]),
                p_value=float(p_value[row]),
                level=(float(score[row]) - self._median) * self._per_span,
                evidence={name: array[row] for name, array in zip(self._evidence, evidence, strict=True)},
                model=self._digest,
            )
            for row in range(len(batch))
        ]

    def _run(self, batch: NDArray[Any], names: list[str]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._session.run(names, {self._input: np.ascontiguousarray(batch)})
        except Exception as error:
            raise InputError(f"ONNX Runtime could not judge this input: {str(error).splitlines()[0][:300]}") from error
        return outputs


def _check_session(session: Session, model: ModelFile) -> None:
    """The graph's types and shapes as ONNX Runtime sees them, against what the metadata say."""
    spec = model.card.input
    wanted: list[Any] = (
        ["uint8", 4, spec.channels] if isinstance(spec, FrameSpec) else ["float32", 3, len(spec.channels)]
    )
    got = session.inputs[0]
    if (
        str(_TYPES.get(got.type)) != wanted[0]
        or len(got.shape) != wanted[1]
        or got.shape[-1] != wanted[2]
        or (isinstance(spec, WindowSpec) and got.shape[1] != spec.steps)
    ):
        raise ModelFileError(f"the graph takes {got.type} {got.shape}, while the metadata promise {wanted}.")
    kinds = {output.name: output.type for output in session.outputs}
    for name in (*OUTPUTS, *model.card.outputs):
        expected = "tensor(uint8)" if name in ("status", "reason") else "tensor(float)"
        if kinds[name] != expected:
            raise ModelFileError(f"the graph's output {name} is {kinds[name]}, expected {expected}.")
