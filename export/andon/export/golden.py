"""The sample in a file that other machines judge: seeded noise by default, and a customer's part only on request."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.runtime.detector import Detector
from andon.runtime.model_file.format import Array, Golden, parse
from andon.runtime.schema import FrameSpec, InputSpec
from andon.runtime.session import open_session

LARGEST = 128
"""Pixels a side, so that the sample stays small next to the network."""
LARGEST_EVIDENCE = 20_000
"""Values of one evidence output that are kept; larger ones are left out."""


def synthetic(spec: InputSpec, seed: int = 0) -> NDArray[Any]:
    """Return a seeded input with structure: waves and noise for frames, a random walk within the channels' range for windows."""
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
        frame: NDArray[np.uint8] = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
        return frame
    center = np.array([channel.center for channel in spec.channels])
    scale = np.array([channel.scale for channel in spec.channels])
    walk = np.cumsum(generator.normal(0, 0.3, (spec.steps, len(center))), axis=0)
    window: NDArray[np.float32] = (center + scale * np.clip(walk, -2, 2)).astype(np.float32)
    return window


def real(item: NDArray[Any]) -> NDArray[Any]:
    """Return a part as a sample: a frame thinned to at most `LARGEST` pixels a side, a window as it is.

    Each side is thinned by a step of its own: the network sees frames stretched to its own size anyway, so that the whole
    part stays in view, and one step for both would leave of an elongated frame fewer rows than a graph takes.
    """
    if item.ndim != 3:
        return item
    rows, columns = (-(-side // LARGEST) for side in item.shape[:2])
    return item[::rows, ::columns].copy()


def golden(data: bytes, item: NDArray[Any], *, origin: str) -> Golden:
    """Return the item with the answer of this file, blank or calibrated."""
    model = parse(data, allow_blank=True)
    verdict = Detector(model, open_session(data), frame_size="any")(item)
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
