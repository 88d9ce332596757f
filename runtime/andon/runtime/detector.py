"""Load a model file and judge frames or windows with it. This is the part that an inspection program embeds."""

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
from andon.runtime.available_memory import memory_here, refuse_too_little
from andon.runtime.interpreter_exit import CALLS
from andon.runtime.mask_pixels import mask_size
from andon.runtime.model_file.format import OUTPUTS, ModelFile, parse, read
from andon.runtime.schema import RAW_SCORE, SCENE_FEATURES, Card, FrameSpec, Reason, Status, WindowSpec
from andon.runtime.session import Device, Session, first_line, open_session
from andon.runtime.verdict import Verdict

logger = logging.getLogger(__name__)

FrameSize = Literal["calibrated", "any"]
ProviderRule = Literal["calibrated", "any"]
"""Device types that may judge: the one of the calibration, or any that reproduces the golden sample."""


class Detector:
    """A loaded model file, which judges frames or windows. Make one with `Detector.load` or `Detector.from_bytes`.

    Several threads may call the same detector at the same time.

    Stop and join all judging threads before the program ends. The end of the interpreter waits up to 5 s for running calls
    of daemon threads, because ending during such a call would abort the process. Later calls of these threads raise
    `JudgeError`.
    """

    def __init__(
        self, model: ModelFile, session: Session, *, frame_size: FrameSize = "calibrated", one_size: bool = True
    ) -> None:
        # for `load` and `from_bytes` only: the model file is checked already. `one_size` is False for the golden sample
        # and for the fit of the scene check. Both use frames that are smaller than those of masks and tiles
        _refuse_unknown("frame_size", frame_size, get_args(FrameSize))
        self._model = model
        self._session = session
        self._spec = model.card.input
        # None only in a blank file, which `parse` refuses except during calibration
        calibration = model.card.calibration
        self._good_scale = calibration.good_scale if calibration else 0.0
        self._any_size = frame_size == "any"
        self._one_size = one_size
        self._evidence = tuple(name for name in model.card.outputs if name not in (RAW_SCORE, SCENE_FEATURES))
        self._names = [*OUTPUTS, *self._evidence]
        self._input = "frame" if isinstance(self._spec, FrameSpec) else "window"
        self._median = calibration.good_median if calibration else float("nan")
        span = model.threshold - self._median
        self._per_span = 1.0 / span if span > 0 else float("nan")
        self._threshold = model.threshold
        self._digest = model.short_digest
        bound = calibration.provider if calibration else None
        self._other_provider = bound is not None and bound != session.device

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: Device = "cpu",
        threads: int = 1,
        frame_size: FrameSize = "calibrated",
        provider: ProviderRule = "calibrated",
    ) -> "Detector":
        """Read, check and load a model file.

        Args:
            path: the ``.onnx`` file.
            device: ``cpu``, ``cuda`` (raises an error without CUDA), or ``auto``: the device type of the calibration. With
                `provider` ``any``, and for files that do not record it, ``auto`` is CUDA if there is one, else the CPU.
            threads: number of CPU threads per call, 1 to 64.
            frame_size: ``any`` also judges frames of another size than the calibrated one. The promise does not cover them.
                A file with an ignore mask or a region always refuses them.
            provider: ``any`` also judges on another device type than the calibrated one, if it reproduces the golden sample.
                No promise holds there (`promised`, `Verdict.outside_promise`).

        Raises:
            ModelFileError: the file is missing, damaged, forged, blank or of another schema.
            DeviceError: the device is missing, is of another type than that of the calibration, or does not reproduce the
                file's golden sample. Or `threads` is out of range.
            InputError: `path` is neither a str nor a path.
            ConfigError: `frame_size` or `provider` is neither ``calibrated`` nor ``any``.
        """
        if not isinstance(path, str | os.PathLike):
            raise InputError(
                f"expected the path of a model file, got {type(path).__name__}. Give a str or a pathlib.Path; "
                "for the bytes of a file, use Detector.from_bytes."
            )
        model = read(path)
        try:
            return cls.open(model, device=device, threads=threads, frame_size=frame_size, provider=provider)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        *,
        device: Device = "cpu",
        threads: int = 1,
        frame_size: FrameSize = "calibrated",
        provider: ProviderRule = "calibrated",
    ) -> "Detector":
        """Check and load the bytes of a model file, for programs that fetch it from a database or a network.

        Arguments and errors are the same as for `load`.
        """
        if not isinstance(data, bytes):
            raise InputError(
                f"expected the bytes of a model file, got {type(data).__name__}. Give bytes; for a path, use Detector.load."
            )
        return cls.open(parse(data), device=device, threads=threads, frame_size=frame_size, provider=provider)

    @classmethod
    def open(
        cls,
        model: ModelFile,
        *,
        device: Device = "cpu",
        threads: int = 1,
        frame_size: FrameSize = "calibrated",
        provider: ProviderRule = "calibrated",
    ) -> "Detector":
        """Load a model file that was read and checked already. Arguments and errors are the same as for `load`."""
        _refuse_unknown("provider", provider, get_args(ProviderRule))
        bound = model.card.calibration.provider if model.card.calibration else None
        if provider == "calibrated" and bound is not None:
            if device == "auto":
                device = bound
            elif device != bound:
                raise DeviceError(
                    f"device: expected {bound}, on which the file was calibrated, got {device}. The promise is not valid on "
                    f"another type of device. Calibrate for this one: andon calibrate FILE.onnx --good PATH --device {device} "
                    "-o NEW.onnx. Or judge without a promise: provider='any' (--provider any)."
                )
        refuse_too_little(model.card.memory_mb, memory_here())
        detector = cls(model, open_session(model.data, device=device, threads=threads), frame_size=frame_size)
        # integer kernels differ between processors: those without VNNI saturate at 16 bits
        if detector.device != model.card.provider or model.card.precision != "float32":
            try:
                detector.verify()
            except DeviceError as error:
                if device != "auto" or detector.device == "cpu":
                    raise
                logger.warning("%s: running on the CPU instead", error)
                return cls.open(model, device="cpu", threads=threads, frame_size=frame_size, provider=provider)
        return detector

    @property
    def card(self) -> Card:
        """Metadata of the file: input, promise, origin."""
        return self._model.card

    @property
    def model(self) -> ModelFile:
        """The checked file: digests, threshold, golden sample, calibration log."""
        return self._model

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The device in use. With ``auto``, the device that was chosen."""
        return self._session.device

    @property
    def promised(self) -> bool:
        """True if the file promises a share of false rejects, and this device is of the type that it was calibrated on."""
        calibration = self._model.card.calibration
        return calibration is not None and calibration.promised and not self._other_provider

    @property
    def promise(self) -> str:
        """The statement about false rejects that holds on this device, as a readable sentence."""
        calibration = self._model.card.calibration
        if calibration is None:
            return ""
        if self._other_provider:
            return f"no promise: the file was calibrated on {calibration.provider}, and this device is {self.device}"
        return calibration.sentence

    @property
    def threshold(self) -> float:
        """The threshold of the file. A score strictly above it is REJECT."""
        return self._model.threshold

    def __call__(self, item: NDArray[Any]) -> Verdict:
        """Judge one frame or one window.

        Args:
            item: a frame, uint8 or uint16 ``[H, W, 3]`` in RGB order or ``[H, W, 1]`` or ``[H, W]`` in grey. Or a window,
                float32 ``[T, C]`` in the sensor units of the training data. `Card.input` gives the exact requirements.

        Raises:
            InputError: type, rank, size or number of channels differ from what the file was calibrated for.
            JudgeError: ONNX Runtime failed although the input was right, for example because memory ran out. Or the
                interpreter is ending.
            DeviceError: ONNX Runtime failed on a GPU although the input was right.
            ModelFileError: the graph returned inconsistent results: the file is forged or unfit for this device.
        """
        return self._judge(self._prepared(item)[np.newaxis])[0]

    def batch(self, items: Sequence[NDArray[Any]]) -> list[Verdict]:
        """Judge several frames of the same size, or several windows, in one call of the graph.

        Args:
            items: a list or an array of items, each as for ``detector(item)``. Generators are refused.

        Returns:
            One verdict per item, in the same order. An empty list for no items.

        Raises:
            InputError: as for ``detector(item)``. Also for frames of different sizes, and for a generator.
            JudgeError, DeviceError, ModelFileError: as for ``detector(item)``.
        """
        try:
            count = len(items)
        except TypeError as error:
            raise InputError(
                f"expected a list or an array of frames or windows, got {type(items).__name__}. Use "
                "detector.batch(list(items)), or detector(item) for one item."
            ) from error
        if not count:
            return []
        prepared = [self._prepared(item) for item in items]
        if len({item.shape for item in prepared}) > 1:
            raise InputError(
                f"batch: expected frames of the same size, got {sorted({item.shape for item in prepared})}. Judge them one by "
                "one."
            )
        return self._judge(np.stack(prepared))

    def verify(self) -> None:
        """Judge the file's golden sample on this machine and compare the result with the stored one.

        `load` calls this for int8 and float16 files, and where the file was calibrated on another type of device, which needs
        ``provider="any"``.

        Raises:
            DeviceError: the file has no golden sample, or score or evidence differ by more than the file's tolerance. Do not
                judge on this device.
            JudgeError: ONNX Runtime failed on the sample.
        """
        golden = self._model.golden
        if golden is None:
            raise DeviceError(
                f"the file has no golden sample, so this {self.device} cannot be verified. Use the device "
                f"{self._model.card.provider!r}, on which the file was calibrated."
            )
        # the golden sample need not look like a good part, so the scene check may make its score NaN
        deciding = RAW_SCORE if RAW_SCORE in self._model.card.outputs else "score"
        score, *evidence = self._run(golden.input.array()[np.newaxis], [deciding, *golden.evidence])
        got, expected = float(score[0]), golden.score
        relative = self._model.card.tolerance
        tolerance = relative * max(abs(expected), self._good_scale)
        if not abs(got - expected) <= tolerance:  # so that NaN does not pass
            raise DeviceError(
                f"golden sample: expected the score {expected:.9g}, got {got:.9g} on this {self.device} (tolerance "
                f"{tolerance:.3g}). This device does not compute what the calibration computed. Use another device."
            )
        for (name, packed), array in zip(golden.evidence.items(), evidence, strict=True):
            wanted = packed.array()
            # evidence does not decide: single cells may differ more than the score that is pooled from them
            largest = max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
            if array[0].shape != wanted.shape or not (np.abs(array[0] - wanted) <= 10 * relative * largest).all():
                raise DeviceError(
                    f"golden sample: the output {name} differs on this {self.device} by more than the tolerance. Use another "
                    "device."
                )

    def measure(self, items: Sequence[NDArray[Any]], output: str) -> NDArray[Any]:
        """Return one output of the graph for several frames of the same size, or several windows, without a verdict.

        Calibration and checks use it for the outputs that are not evidence (`RAW_SCORE`, `SCENE_FEATURES`).

        Args:
            items: as for `batch`, at least one.
            output: name of an output of the file: `OUTPUTS`, or one of `Card.outputs`.

        Returns:
            The output, ``[N, ...]``.

        Raises:
            InputError, JudgeError, DeviceError, ModelFileError: as for ``detector(item)``.
        """
        return self._run(np.stack([self._prepared(item) for item in items]), [output])[0]

    def check(self, item: NDArray[Any]) -> NDArray[Any]:
        """Check an item without judging it, and return it in the shape of the graph's input, without a copy.

        Raises:
            InputError: as for ``detector(item)``.
        """
        return self._prepared(item)

    def _prepared(self, item: NDArray[Any]) -> NDArray[Any]:
        """Check an item and return it in the shape of the graph's input, without a copy."""
        spec = self._spec
        if not isinstance(item, np.ndarray):
            raise InputError(f"expected a numpy array, got {type(item).__name__}.")
        if isinstance(item, np.ma.MaskedArray):
            raise InputError(
                "expected a plain numpy array, got a masked array. Its mask would be lost. Give item.filled(numpy.nan) for "
                "windows, which makes them INVALID, or a fill value that is right for your data."
            )
        if isinstance(spec, WindowSpec):
            shape = (spec.steps, len(spec.channels))
            if item.dtype != np.float32:
                raise InputError(
                    f"expected a float32 window {list(shape)}, got {item.dtype}. Use window.astype('float32')."
                )
            if item.shape != shape:
                raise InputError(
                    f"expected a window of {shape[0]} steps x {shape[1]} channels, got shape {list(item.shape)}."
                )
            return item
        if item.dtype != spec.dtype:
            raise InputError(
                f"expected a {spec.dtype} frame, got {item.dtype}. Convert frames of other types in the same way as for training."
                if item.dtype not in (np.uint8, np.uint16)
                else f"expected a {spec.dtype} frame ({_bits(spec.dtype)}), as the model was trained on, got {item.dtype} "
                f"({_bits(str(item.dtype))}). Set the camera to the same bit depth, or train with the new frames."
            )
        if item.ndim == 2 and spec.channels == 1:
            item = item[:, :, np.newaxis]
        wanted = f"[H, W, {spec.channels}] ({'RGB' if spec.channels == 3 else 'grey'})"
        if item.ndim != 3 or item.shape[2] != spec.channels:
            raise InputError(f"expected a frame {wanted}, got shape {list(item.shape)}.")
        if min(item.shape[:2]) < 16:
            raise InputError(f"expected a frame of at least 16 x 16 pixels, got {item.shape[0]} x {item.shape[1]}.")
        masks = mask_size(spec)
        if self._one_size and masks is not None and item.shape[:2] != tuple(masks):
            raise InputError(
                f"expected frames of {masks[0]} x {masks[1]} (height x width), the size of the file's "
                f"{'ignore mask' if spec.region is None else 'region'}, got {item.shape[0]} x {item.shape[1]}. A mask belongs to "
                "one frame size. Set the camera to this size, or train with masks for the new frames."
            )
        tiled = spec.frame_size if spec.tiles is not None else None
        if self._one_size and tiled is not None and item.shape[:2] != tuple(tiled):
            raise InputError(
                f"expected frames of {tiled[0]} x {tiled[1]} (height x width), the size of the file's tiles, got "
                f"{item.shape[0]} x {item.shape[1]}. Tiles belong to one frame size. Set the camera to this size, or train with "
                "--tile on the new frames."
            )
        if not self._any_size and spec.frame_size is not None and item.shape[:2] != tuple(spec.frame_size):
            raise InputError(
                f"expected frames of {spec.frame_size[0]} x {spec.frame_size[1]} (height x width) as calibrated, got "
                f"{item.shape[0]} x {item.shape[1]}. Was the camera changed? The promise covers the calibrated size only. "
                "Train and export with the new frames, or load the file with frame_size='any' and without a promise."
            )
        return item

    def _judge(self, batch: NDArray[Any]) -> list[Verdict]:
        score, status, reason, threshold, p_value, *evidence = self._run(batch, self._names)
        for array in evidence:
            array.setflags(write=False)  # this also protects the rows of each verdict, which are views
        scores, thresholds = score.tolist(), threshold.tolist()
        outside = self._outside_promise(batch)
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
                outside_promise=outside,
            )
            for row in range(len(batch))
        ]

    def _outside_promise(self, batch: NDArray[Any]) -> tuple[str, ...]:
        """Return what differs from the calibration, in words of the card."""
        outside = ["provider"] if self._other_provider else []
        if isinstance(self._spec, FrameSpec) and self._spec.frame_size not in (None, batch.shape[1:3]):
            outside.append("frame_size")
        return tuple(outside)

    def _status(self, status: int, score: float, threshold: float) -> Status:
        """Return the graph's status, or raise `ModelFileError` if status, score and threshold are inconsistent."""
        rejects = not score <= threshold
        consistent = status == Status.INVALID or (status <= Status.REJECT and rejects == (status == Status.REJECT))
        if not consistent or not (threshold == self._threshold or math.isnan(self._threshold)):
            raise ModelFileError(
                f"the graph returned status {status} for the score {score:.9g} and the threshold {threshold:.9g}, but the "
                f"file's threshold is {self._threshold:.9g}. The file is forged, or unfit for this {self.device}."
            )
        return Status(status)

    def _run(self, batch: NDArray[Any], names: list[str]) -> list[NDArray[Any]]:
        try:
            with CALLS:
                outputs: list[NDArray[Any]] = self._session.run(names, {self._input: np.ascontiguousarray(batch)})
        except JudgeError:
            raise
        except Exception as error:
            # not the input: `_prepared` has checked it
            kind = DeviceError if self.device == "cuda" else JudgeError
            raise kind(
                f"ONNX Runtime failed on an input of shape {list(batch.shape)}, although its type and size are right: "
                f"{first_line(error)}. Is there enough memory?"
            ) from error
        for name, output in zip(names, outputs, strict=True):
            if len(output.shape) == 0 or len(output) != len(batch) or (name in OUTPUTS and output.ndim != 1):
                raise ModelFileError(
                    f"the graph returned {name} of shape {list(output.shape)} for {len(batch)} items. The file is forged."
                )
        return outputs


def _bits(dtype: str) -> str:
    return "8 bits per channel" if dtype == "uint8" else "more than 8 bits per channel"


def _refuse_unknown(name: str, word: object, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ConfigError(f"{name}: expected {' or '.join(map(repr, known))}, got {word!r}.")
