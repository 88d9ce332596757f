"""Content of a model file other than its graph: the golden sample, the calibration log, the calibrated numbers."""

import base64
import hashlib
import math
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ModelFileError
from andon.runtime.calibration_facts import Move, ShortText
from andon.runtime.model_file.onnx_subset import graph_digest, survey
from andon.runtime.schema import TAIL_KNOTS, Card

TENSORS: dict[str, int] = {
    "andon.threshold": 1,
    "andon.review": 1,
    "andon.tail_x": TAIL_KNOTS,
    "andon.tail_p": TAIL_KNOTS + 1,
}
"""Initialisers that every file has and calibration rewrites, with their lengths; float32, stored as `raw_data`."""

SCENE_TENSORS = ("andon.scene_center", "andon.scene_scale", "andon.scene_limit")
"""Initialisers of the scene check. The card gives their lengths (`SceneCheck`). The scale is optional for readers."""

OUTSIDE_TENSOR = "andon.outside"
"""Initialiser of the check for windows far outside the good ones: ``[4 * C]`` limits (`andon.runtime.outside_training`)."""

REWRITABLE = frozenset(TENSORS) | frozenset(SCENE_TENSORS) | {OUTSIDE_TENSOR}
"""Initialisers whose numbers are not part of the graph digest."""


class Array(Struct, frozen=True, kw_only=True):
    """An array within JSON."""

    dtype: Literal["uint8", "float32", "uint16"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=1_000_000)], ...], Meta(max_length=4)]
    data: str
    """Little-endian bytes, row-major, base64."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> "Array":
        """Pack a uint8, uint16 or float array."""
        dtype: Literal["uint8", "float32", "uint16"] = (
            "uint8" if array.dtype == np.uint8 else "uint16" if array.dtype == np.uint16 else "float32"
        )
        little = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
        return cls(dtype=dtype, shape=array.shape, data=base64.b64encode(little.tobytes()).decode())

    def array(self) -> NDArray[Any]:
        """Unpack the array.

        Raises:
            ModelFileError: the number of bytes does not match shape and type.
        """
        kind = np.dtype(self.dtype).newbyteorder("<")
        try:
            raw = base64.b64decode(self.data, validate=True)
        except ValueError as error:
            raise ModelFileError(f"golden sample: {error}.") from error
        if len(raw) != math.prod(self.shape) * kind.itemsize:
            raise ModelFileError(
                f"golden sample: {len(raw)} bytes of {self.dtype} do not fill {list(self.shape)}. Copy or export the file again."
            )
        return np.frombuffer(raw, kind).astype(self.dtype, copy=False).reshape(self.shape)


class Golden(Struct, frozen=True, kw_only=True):
    """An input with the graph's outputs for it. Other machines judge the input to check that they compute the same outputs."""

    origin: str
    """``synthetic`` (seeded noise), or ``real`` if the user requested a real part."""
    input: Array
    score: float
    evidence: dict[str, Array]


class LogEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One calibration in the file's history.

    Fields that schema 1.0 does not have are omitted when they equal their defaults. An old entry therefore keeps its text and
    its digest when a file is written again.
    """

    date: str
    andon: str
    """Version of andon that calibrated the file."""
    kind: str
    alpha: float
    confidence: float
    n: int
    above: int
    threshold: float
    part_keys_sha256: str
    previous: str
    """sha256 of the JSON text of the previous entry in the file. Empty for the first."""
    reason: ShortText = ""
    """Reason for calibrating the file again. Reserved."""
    move: Move | None = None


class Tail(Struct, frozen=True, kw_only=True):
    """The numbers that calibration writes into the graph."""

    threshold: float
    review: float
    x: NDArray[np.float32]
    """Scores of good parts, ``[256]``, ascending, padded with +inf."""
    p: NDArray[np.float32]
    """p-values, ``[257]``. ``p[0]`` is 1, and each value is at most the one before."""


class SceneNumbers(Struct, frozen=True, kw_only=True):
    """The numbers of a scene check that calibration writes into the graph."""

    center: NDArray[np.float32]
    """Features of good parts, one block per kind of wrong frame, ``[kinds * F]``."""
    scale: NDArray[np.float32]
    """Square roots of the weights of the squared differences, ``[kinds * F]``."""
    limit: NDArray[np.float32]
    """Largest distance that passes, ``[kinds]``."""


BLANK = Tail(
    threshold=float("nan"),
    review=float("nan"),
    x=np.full(TAIL_KNOTS, np.inf, np.float32),
    p=np.ones(TAIL_KNOTS + 1, np.float32),
)
"""The numbers that export writes before calibration. Every loader refuses them."""


class ModelFile(Struct, frozen=True, kw_only=True):
    """A checked model file."""

    data: bytes
    card: Card
    golden: Golden | None
    log: tuple[LogEntry, ...]
    threshold: float
    """NaN in a blank file."""
    review: float
    tail_x: NDArray[np.float32]
    tail_p: NDArray[np.float32]
    outside: NDArray[np.float32] | None
    """Limits of the check for windows far outside the good ones, ``[4 * C]``. None in a file without the check."""
    digest: str
    """Digest of the whole file. Its first 12 digits identify the file in verdicts."""

    @property
    def short_digest(self) -> str:
        """First 12 hexadecimal digits of the digest, which identify the file in verdicts and logs."""
        return self.digest[:12]

    @property
    def graph_sha256(self) -> str:
        """Digest of the computation, without calibration and metadata. Recalibration does not change it."""
        return graph_digest(self.data, survey(self.data), REWRITABLE)

    @property
    def file_sha256(self) -> str:
        """The checksum that ``sha256sum`` prints for the file."""
        return hashlib.sha256(self.data).hexdigest()
