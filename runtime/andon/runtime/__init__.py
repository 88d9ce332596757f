"""The embedded core: load a model file, judge frames or windows. It depends on numpy, onnxruntime and msgspec only.

>>> from andon.runtime import Detector, Status              # doctest: +SKIP
>>> verdict = Detector.load("bottle.onnx")(frame)           # doctest: +SKIP
>>> verdict.status is Status.REJECT                         # doctest: +SKIP
True
"""

import contextlib as _contextlib

from andon.foundation.errors import DeviceError as _DeviceError
from andon.runtime.session import onnxruntime as _onnxruntime

# A module that is broken is reported by the first session. `andon doctor` and error messages must be available until then.
with _contextlib.suppress(_DeviceError):
    _onnxruntime()  # first, so that its telemetry is off even if another package imports it later

from andon.foundation.errors import (
    AndonError,
    CalibrationError,
    ConfigError,
    DataError,
    DeviceError,
    InputError,
    JudgeError,
    MissingExtra,
    ModelFileError,
    NotEnoughParts,
    ParityError,
    PrecisionError,
    TrainingError,
)
from andon.runtime.detector import Detector
from andon.runtime.micro_batching import BatchRule
from andon.runtime.schema import Card, Reason, Status
from andon.runtime.shared_detector import SharedDetector
from andon.runtime.verdict import Verdict, part_status, part_verdict

__all__ = [
    "AndonError",
    "BatchRule",
    "CalibrationError",
    "Card",
    "ConfigError",
    "DataError",
    "Detector",
    "DeviceError",
    "InputError",
    "JudgeError",
    "MissingExtra",
    "ModelFileError",
    "NotEnoughParts",
    "ParityError",
    "PrecisionError",
    "Reason",
    "SharedDetector",
    "Status",
    "TrainingError",
    "Verdict",
    "part_status",
    "part_verdict",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # slow to import

        return version("andon")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
