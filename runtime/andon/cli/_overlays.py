"""Write frames with their heat maps as files: one file per key, all inside the folder, each with its own name."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.runtime.items import Data
from andon.runtime.schema import Card, FrameSpec


class Overlays:
    """A writer for the overlays of one run of ``andon score``."""

    def __init__(self, folder: Path, card: Card) -> None:
        self._folder = folder
        calibration = card.calibration
        self._scale = calibration.map_scale if calibration and calibration.map_scale else 1.0
        self._crop = card.input.crop if isinstance(card.input, FrameSpec) else (0.0, 0.0, 1.0, 1.0)
        self._taken: set[str] = set()

    def write(self, key: str, frame: Data, anomaly_map: NDArray[np.float32]) -> Path:
        """Write one overlay and return its path.

        Raises:
            ConfigError: the folder cannot be written.
        """
        from andon.runtime.heat_map import overlay
        from andon.sources.pictures.encode import write_png

        path = self._folder / self._free(file_name(key))
        write_png(path, overlay(frame.astype(np.uint8, copy=False), anomaly_map, self._scale, crop=self._crop))
        return path

    def _free(self, name: str) -> str:
        """Return the name, or a numbered form of it if the run has already used it.

        Pictures in two folders may have equal names.
        """
        free, number = name, 1
        while free.casefold() in self._taken:
            number += 1
            free = f"{name.removesuffix('.png')}-{number}.png"
        self._taken.add(free.casefold())
        return free


def file_name(key: str) -> str:
    """Return a relative path for the picture of a key: the key itself, with ``.png`` appended if it has another suffix.

    >>> file_name("scratch/000.png"), file_name("000.jpg"), file_name("line.mp4#120"), file_name("../../etc/x")
    ('scratch/000.png', '000.jpg.png', 'line.mp4_120.png', 'etc/x.png')
    """
    plain = re.sub(r'[\x00-\x1f<>:"|?*#]', "_", key.replace("\\", "/"))
    pieces = [piece for piece in plain.split("/") if piece.strip(". ")]
    name = "/".join(pieces) or "picture"
    return name if name.casefold().endswith(".png") else f"{name}.png"
