"""Find the nearest good patches of the hottest places of a rejected frame (``andon score --explain``).

A model file contains the features of good patches, but no pictures of good parts, which may be confidential. The run folder
records where each stored patch comes from, and the good pictures are read again from the training data.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from andon.drawing.explanation_sheet import Box, Place, View
from andon.export.evidence import Evidence
from andon.export.pooling import Pool
from andon.export.preprocessing import prepare
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.crop import window
from andon.runtime.detector import Detector
from andon.runtime.grey_levels import grey_levels
from andon.runtime.heat_map import Picture, map_limit
from andon.runtime.items import Data as RawItem
from andon.runtime.items import Item
from andon.runtime.schema import Card, FrameSpec
from andon.runtime.verdict import Verdict
from andon.training.recipe.recipe import Nearest, detectors, recipe
from andon.training.runs.run_data import Data, parts_of
from andon.training.runs.run_folder import LoadedRun, load

PLACES = 3
"""Largest number of hot places that are explained."""
_CELLS = 2
"""Side of a view in cells of the coarsest grid. A smaller view would show less than what the features depend on."""
_SAME = 0.05
"""Largest difference between the maps of file and run, as a share of the map's highest value. Other runs differ more."""


class Peak(Struct, frozen=True):
    """A hot place of a map. `y` and `x` are its centre as shares of the map's height and width."""

    y: float
    x: float
    value: float


class GoodPatches:
    """The good patches of a run, for the frames that a model file of this run rejects.

    Args:
        run: the run that the file was exported from, or its folder.
        detector: the loaded model file.
        data: new location of the good parts; None for the location recorded in the run.

    Raises:
        TrainingError: there is no finished run.
        ConfigError: the file was exported from another run, or the detector does not compare with good patches.
        DataError: the good parts are missing.
    """

    def __init__(self, run: LoadedRun | Path | str, detector: Detector, *, data: Data | None = None) -> None:
        loaded = run if isinstance(run, LoadedRun) else load(run, epoch=detector.card.checkpoint_epoch)
        record, card, spec = loaded.record, detector.card, loaded.spec
        if loaded.recipe.nearest is None or not isinstance(spec, FrameSpec):
            capable = ", ".join(name for name in detectors() if recipe(name).nearest is not None)
            raise ConfigError(
                f"--explain: {loaded.recipe.name} does not compare frames with patches of good parts, so there are no nearest "
                f"patches to show. Detectors that do: {capable}. Use --overlay to see the heat map."
            )
        if spec.tiles is not None:
            raise ConfigError(
                "--explain: expected a run without tiles, got one with tiles. Use --overlay to see the heat map."
            )
        if card.reading.map is None:
            raise ConfigError("--explain: expected a model file whose score is pooled from a map. Leave the flag out.")
        if (card.detector, card.data_fingerprint) != (loaded.recipe.name, record.fingerprint):
            raise _other_run(loaded.path)
        self._folder = loaded.path
        self._card: Card = card
        self._spec = spec
        self._limit = map_limit(card, detector.threshold)
        self._scorer = loaded.scorer.eval()
        self._nearest = loaded.recipe.nearest
        self._prepare = prepare(spec)
        self._pool = Pool(card.reading, spec)
        lost = set(record.lost)
        self._keys = [key for key in record.split.train if key not in lost]
        self._collection = parts_of(loaded, data)
        self._refs = {ref.key: ref for ref in self._collection.refs}

    def places(self, frame: RawItem, verdict: Verdict) -> list[Place]:
        """Return the hottest places of a frame above the limit of its map, hottest first, at most `PLACES`.

        Args:
            frame: the frame as it was judged, uint8 or uint16 ``[H, W, C]``.
            verdict: the verdict of the model file about this frame.

        Raises:
            ConfigError: the run computes another map than the model file.
            DataError: a good part that is needed cannot be read.
        """
        with torch.no_grad():
            prepared, _ = self._prepare(torch.from_numpy(np.array(frame[np.newaxis])))
            evidence: Evidence = self._scorer(prepared)
            own = self._pool(evidence)["anomaly_map"][0].numpy()
            layers = self._nearest(self._scorer, prepared)
        heat = verdict.evidence["anomaly_map"]
        if own.shape != heat.shape or not np.abs(own - heat).max() <= _SAME * np.abs(heat).max():
            raise _other_run(self._folder)
        side = _CELLS / min(min(layer.distance.shape) for layer in layers)
        picture = grey_levels(frame, self._spec)
        return [
            self._place(picture, peak, (heat.shape[0], heat.shape[1]), layers, side)
            for peak in peaks(heat, self._limit, apart=side)
        ]

    def _place(
        self, frame: Picture, peak: Peak, grid: tuple[int, int], layers: Sequence[Nearest], side: float
    ) -> Place:
        good = []
        for layer in layers:
            rows, columns = layer.distance.shape
            row, column = int(peak.y * rows), int(peak.x * columns)
            key = self._keys[int(layer.part[row, column])]
            good_row, good_column = divmod(int(layer.cell[row, column]), columns)
            centre = ((good_row + 0.5) / rows, (good_column + 0.5) / columns)
            picture, cell, _ = _view(self._read(key), self._spec, centre, side, (rows, columns))
            good.append(
                View(picture=picture, cell=cell, name=key, share=float(layer.distance[row, column]) / self._limit)
            )
        view, cell, box = _view(frame, self._spec, (peak.y, peak.x), side, grid)
        return Place(picture=view, cell=cell, share=peak.value / self._limit, box=box, good=tuple(good))

    def _read(self, key: str) -> Picture:
        if key not in self._refs:
            raise DataError(
                f"{key}: this good part of the training is missing. If the good parts were moved, give their new location "
                "with --data."
            )
        item = self._collection.read(self._refs[key])
        if not isinstance(item, Item):
            raise DataError(f"{key}: expected a good part of the training, got a file that cannot be read. Restore it.")
        return grey_levels(item.data, self._spec)


def peaks(heat: NDArray[np.float32], limit: float, *, apart: float, most: int = PLACES) -> list[Peak]:
    """Return the highest cells of a map that exceed a limit, highest first, one for each hot place.

    If no cell exceeds the limit, return the highest cell alone.

    Args:
        heat: the map ``[h, w]``.
        limit: limit of the map.
        apart: two peaks differ by at least this share of the map in height or width.
        most: largest number of peaks.
    """
    height, width = heat.shape
    left = np.nan_to_num(heat.astype(np.float64), nan=np.inf)
    found: list[Peak] = []
    while len(found) < most:
        row, column = (int(at) for at in np.unravel_index(int(left.argmax()), left.shape))
        value = float(left[row, column])
        if value == -np.inf or (found and value <= limit):
            break
        found.append(Peak((row + 0.5) / height, (column + 0.5) / width, value))
        near = np.ix_(
            np.abs(np.arange(height) - row) < apart * height, np.abs(np.arange(width) - column) < apart * width
        )
        left[near] = -np.inf
    return found


def _view(
    frame: Picture, spec: FrameSpec, centre: tuple[float, float], side: float, grid: tuple[int, int]
) -> tuple[Picture, Box, Box]:
    """Cut a square around a place out of a frame, moved into the part that the network sees.

    Args:
        frame: the frame, uint8 ``[H, W, C]``.
        spec: input of the network.
        centre: the place, as shares of the height and width that the network sees.
        side: side of the square, as a share of the mean side.
        grid: rows and columns of the grid whose cell at the place is marked.

    Returns:
        The square, the cell in pixels of the square, and the square in pixels of the frame.
    """
    inside = window((frame.shape[0], frame.shape[1]), spec.crop)
    lengths = [part.stop - part.start for part in inside]
    wanted = max(1, round(side * math.sqrt(lengths[0] * lengths[1])))
    begins, ends, cells = [], [], []
    for part, length, at, count in zip(inside, lengths, centre, grid, strict=True):
        middle, long, cell = at * length, min(wanted, length), length / count
        begin = max(0, min(round(middle - long / 2), length - long))
        begins.append(part.start + begin)
        ends.append(part.start + begin + long)
        cells.append((max(0, round(middle - cell / 2) - begin), min(long, round(middle + cell / 2) - begin)))
    square = np.array(frame[begins[0] : ends[0], begins[1] : ends[1]])
    cell_box = (cells[0][0], cells[1][0], cells[0][1], cells[1][1])
    return square, cell_box, (begins[0], begins[1], ends[0], ends[1])


def _other_run(folder: Path) -> ConfigError:
    return ConfigError(
        f"--run: expected the run folder that the model file was exported from, got {folder}, which is another training. Give "
        "the folder of this file, or export the file again from this run."
    )
