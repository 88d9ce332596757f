"""Write rejected frames next to the most similar places of good parts, one file per reject."""

from pathlib import Path

from andon.cli._overlays import FreeNames, file_name
from andon.runtime.detector import Detector
from andon.runtime.grey_levels import grey_levels
from andon.runtime.items import Data
from andon.runtime.verdict import Verdict


class Explanations:
    """A writer for the explanations of one run of ``andon score``.

    Raises:
        MissingExtra: PyTorch is not installed.
        TrainingError, ConfigError, DataError: as `GoodPatches`.
    """

    def __init__(self, folder: Path, run: str, detector: Detector, *, data: str | None = None) -> None:
        from andon.foundation.extras import needs

        with needs("train", "--explain"):
            from andon.training.explanation.good_patches import GoodPatches

        self._folder = folder
        self._card = detector.card
        self._patches: GoodPatches = GoodPatches(run, detector, data=data)
        self._names = FreeNames()

    def write(self, key: str, frame: Data, verdict: Verdict) -> Path:
        """Write one rejected frame and return the path.

        Raises:
            ConfigError: the folder cannot be written, or the run is not the one that the file was exported from.
            DataError: a good part that is needed cannot be read.
        """
        from andon.drawing.explanation_sheet import explanation_sheet
        from andon.sources.pictures.encode import write_png

        path = self._folder / self._names.free(file_name(key))
        places = self._patches.places(frame, verdict)
        pixels = grey_levels(frame, self._card.input)
        write_png(path, explanation_sheet(key, pixels, verdict, self._card, places))
        return path
