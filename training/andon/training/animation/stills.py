"""Draw the pictures of an animation of frames: panels below each other, one column per part, the epoch on top."""

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from andon.drawing.labels import fitting
from andon.drawing.style import BLUE
from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.extras import remedy
from andon.runtime.heat_map import colours
from andon.training.observers.epoch_snapshots import Snapshot, SnapshotParts

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Picture = NDArray[np.uint8]
ROWS = {"originals": "original", "reconstructions": "rebuilt", "maps": "map", "samples": "generated"}
"""Panels in their order, and their labels."""
ALONE_COLUMNS, SHARED_ROWS = 4, 2
"""Layout of generated parts: 4 columns if they are the only panel, else 2 rows."""
LEAST_CELL, USUAL_CELL = 16, 128
"""Smallest and usual width of a part in pixels."""
_INK, _FAINT, _PAPER = "#222222", "#999999", "#ffffff"


def title(snapshot: Snapshot) -> str:
    """Return the title of a picture: the epoch in words."""
    if not snapshot.kept:
        return f"epoch {snapshot.epoch}"
    return "final weights" if snapshot.epoch is None else f"final weights, of epoch {snapshot.epoch}"


def stills(
    snapshots: Sequence[Snapshot], parts: SnapshotParts | None, panels: Sequence[str], *, width: int | None, note: str
) -> Iterator[Picture]:
    """Yield one picture ``[H, W, 3]`` per snapshot. All have one size with even sides, and a part keeps its position.

    Args:
        snapshots: in order. Each has all of `panels`.
        parts: the parts; None if no panel shows them.
        panels: keys of `ROWS`.
        width: width of the pictures in pixels. None: about `USUAL_CELL` per part.
        note: small text in the top right corner.

    Raises:
        ConfigError: the width leaves less than `LEAST_CELL` per part.
    """
    page = _Page(snapshots, parts, panels, width=width, note=note)
    return (page.draw(snapshot, place / max(len(snapshots) - 1, 1)) for place, snapshot in enumerate(snapshots))


class _Page:
    """The layout that all pictures share, and the colour scale of the maps.

    All maps have the scale of the last snapshot, so that the colours show how the errors decrease during training.
    """

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        parts: SnapshotParts | None,
        panels: Sequence[str],
        *,
        width: int | None,
        note: str,
    ) -> None:
        self.parts, self.panels, self.note = parts, panels, note
        last = snapshots[-1]
        alone = parts is None or list(panels) == ["samples"]
        seen: NDArray[Any] = _present(last.samples if parts is None or alone else parts.originals)
        self.columns = min(len(seen), ALONE_COLUMNS) if alone else len(seen)
        rows = 1 if last.samples is None else -(-len(last.samples) // self.columns)
        self.generated_rows = rows if len(panels) == 1 else min(rows, SHARED_ROWS)
        maps = last.maps
        self.hottest = (
            1.0 if maps is None else float(maps.max()) / 1.5
        )  # `colours` ends at 1.5 times its scale argument
        height_to_width = seen.shape[1] / seen.shape[2]
        self.text = 13 if width is None else min(max(9, width // 45), 22)
        self.margin, self.gap = self.text // 2, max(2, self.text // 4)
        font = _font(self.text)
        self.label = (
            0 if len(panels) == 1 else round(max(font.getlength(ROWS[panel]) for panel in panels)) + self.margin
        )
        around = 2 * self.margin + self.label + (self.columns - 1) * self.gap
        cell = (
            max(USUAL_CELL // seen.shape[2], 1) * seen.shape[2] if width is None else (width - around) // self.columns
        )
        if cell < LEAST_CELL:
            least = around + self.columns * LEAST_CELL
            raise ConfigError(
                f"--size: expected at least {least} pixels for {self.columns} parts per row, got {width}."
            )
        self.cell = (max(1, round(cell * height_to_width)), cell)
        self.width = even(around + self.columns * cell if width is None else width)
        self.captioned = parts is not None and any(panel != "samples" for panel in panels)
        self.top = self.margin + round(2.4 * self.text) + (2 * self._line if self.captioned else 0)
        cells = sum(self.generated_rows if panel == "samples" else 1 for panel in panels)
        self.height = even(self.top + cells * (self.cell[0] + self.gap) + self.margin)

    @property
    def _line(self) -> int:
        return round(1.25 * self._small)

    @property
    def _small(self) -> int:
        return max(8, self.text - 2)

    def draw(self, snapshot: Snapshot, share: float) -> Picture:
        image, draw = _blank(self.width, self.height)
        draw.text((self.margin, self.margin), title(snapshot), fill=_INK, font=_font(round(1.25 * self.text)))
        small = _font(self._small)
        draw.text((self.width - self.margin, self.margin), self.note, fill=_FAINT, font=small, anchor="ra")
        line = self.margin + 2 * self.text  # progress bar: position of this snapshot among all
        ends = (self.margin, self.width - self.margin)
        draw.line((ends[0], line, ends[1], line), fill="#dddddd", width=2)
        draw.line((ends[0], line, ends[0] + share * (ends[1] - ends[0]), line), fill=BLUE, width=2)
        if self.captioned and self.parts is not None:
            self._captions(draw, self.parts.captions, snapshot)
        y = self.top
        for panel in self.panels:
            pictures = self._pictures(panel, snapshot)
            rows = self.generated_rows if panel == "samples" else 1
            if self.label:
                draw.text(
                    (self.margin, y + self.cell[0] // 2), ROWS[panel], fill=_INK, font=_font(self.text), anchor="lm"
                )
            for place, picture in enumerate(pictures[: rows * self.columns]):
                row, column = divmod(place, self.columns)
                x = self.margin + self.label + column * (self.cell[1] + self.gap)
                image.paste(_resized(picture, self.cell), (x, y + row * (self.cell[0] + self.gap)))
            y += rows * (self.cell[0] + self.gap)
        return np.asarray(image)

    def _pictures(self, panel: str, snapshot: Snapshot) -> list[Picture]:
        if panel == "maps":
            return [colours(values, self.hottest, cool=0.0) for values in _present(snapshot.maps)]
        found = self.parts.originals if panel == "originals" and self.parts is not None else getattr(snapshot, panel)
        return [np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels for levels in found]

    def _captions(self, draw: "ImageDraw", captions: Sequence[str], snapshot: Snapshot) -> None:
        font = _font(self._small)
        for column, caption in enumerate(captions):
            x = self.margin + self.label + column * (self.cell[1] + self.gap)
            y = self.top - 2 * self._line - self.gap // 2
            draw.text((x, y), fitting(caption, font.getlength, self.cell[1]), fill=_INK, font=font)
            if snapshot.scores is not None:
                score = fitting(f"score {snapshot.scores[column]:.3g}", font.getlength, self.cell[1])
                draw.text((x, y + self._line), score, fill=_FAINT, font=font)


def _present(values: NDArray[Any] | None) -> NDArray[Any]:
    assert values is not None, "each snapshot has all panels"
    return values


def even(side: int) -> int:
    """Return the side, or the side plus 1 if it is odd, because video codecs need even sides."""
    return side + side % 2


def _resized(picture: Picture, cell: tuple[int, int]) -> "Image":
    from PIL import Image

    image = Image.fromarray(picture)
    if cell == picture.shape[:2]:
        return image
    # at whole multiples, NEAREST keeps the pixels of small pictures sharp; at other factors their widths would differ
    whole = all(side % was == 0 for side, was in zip(cell, picture.shape, strict=False))
    smaller = cell[0] < picture.shape[0]
    method = Image.Resampling.NEAREST if whole else Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    return image.resize((cell[1], cell[0]), method)


def _blank(width: int, height: int) -> tuple["Image", "ImageDraw"]:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), _PAPER)
    return image, ImageDraw.Draw(image)


@functools.cache
def _font(size: int) -> Any:
    """Return the font that comes with matplotlib, because it has more characters than Pillow's default font."""
    try:
        import matplotlib as mpl
        from PIL import ImageFont
    except ImportError as error:
        raise MissingExtra(f"animations need pillow and matplotlib: {remedy('train')}") from error
    return ImageFont.truetype(f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
