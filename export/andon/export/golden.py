"""Make the golden sample of a file. Other machines judge the sample to verify the file.

The sample is synthetic by default. A real part is used only on request, because it may be confidential.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.runtime.detector import Detector
from andon.runtime.grey_levels import raw_levels
from andon.runtime.model_file.format import Array, Golden, parse
from andon.runtime.schema import FrameSpec, InputSpec
from andon.runtime.session import open_session
from andon.runtime.typical_window import typical

LARGEST = 128
"""Largest side of the sample in pixels, so that it stays small compared with the network."""
LARGEST_EVIDENCE = 20_000
"""Largest number of values of an evidence output to keep. Larger outputs are left out."""


def synthetic(spec: InputSpec, seed: int = 0) -> NDArray[Any]:
    """Return a seeded input with structure: waves and noise for frames, a random walk in channel range for windows."""
    generator = np.random.default_rng(seed)
    if isinstance(spec, FrameSpec):
        rows, columns = np.mgrid[0:LARGEST, 0:LARGEST] / LARGEST
        planes = [
            128
            + 60 * np.sin(2 * np.pi * (2 + channel) * rows + generator.uniform(0, 6))
            + 40 * np.sin(2 * np.pi * 3 * columns * rows + channel)
            + generator.normal(0, 12, rows.shape)
            for channel in range(spec.channels)
        ]
        return raw_levels(np.floor(np.clip(np.stack(planes, axis=-1), 0, 255)), spec)
    usual = typical(spec)
    walk = np.cumsum(generator.normal(0, 0.3, (spec.steps, len(spec.channels))), axis=0)
    window: NDArray[np.float32] = (usual.center + usual.scale * np.clip(walk, -2, 2)).astype(np.float32)
    return window


def real(item: NDArray[Any]) -> NDArray[Any]:
    """Return a part as a sample: a frame reduced to at most `LARGEST` pixels per side, a window unchanged.

    Each side has its own step. The network resizes frames to its own size anyway, and the whole part stays in view. With one
    step for both sides, an elongated frame could keep fewer rows than the graph accepts.
    """
    if item.ndim != 3:
        return item
    rows, columns = (-(-side // LARGEST) for side in item.shape[:2])
    return item[::rows, ::columns].copy()


def golden(data: bytes, item: NDArray[Any], *, origin: str) -> Golden:
    """Return the item with the score and evidence of this file. The file may be blank or calibrated."""
    model = parse(data, allow_blank=True)
    verdict = Detector(model, open_session(data), frame_size="any", one_size=False)(item)
    return Golden(
        origin=origin,
        input=Array.of(item),
        score=verdict.score,
        evidence={
            name: Array.of(np.asarray(array, np.float32))
            for name, array in verdict.evidence.items()
            if array.size <= LARGEST_EVIDENCE
        },
    )
