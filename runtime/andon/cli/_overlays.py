"""Write pictures of judged frames as files: one file per key, all inside the folder, each with its own name."""

import re
from pathlib import Path

from andon.runtime.grey_levels import grey_levels
from andon.runtime.items import Data
from andon.runtime.schema import Card
from andon.runtime.verdict import Verdict


class Overlays:
    """A writer for the overlays of one run of ``andon score``."""

    def __init__(self, folder: Path, card: Card) -> None:
        self._folder = folder
        self._card = card
        self._names = FreeNames()

    def write(self, key: str, frame: Data, verdict: Verdict) -> Path:
        """Write one frame with its heat map and its verdict, and return the path.

        Raises:
            ConfigError: the folder cannot be written.
            MissingExtra: Pillow is not installed.
        """
        from andon.drawing.heat_picture import heat_picture
        from andon.sources.pictures.encode import write_png

        path = self._folder / self._names.free(file_name(key))
        write_png(path, heat_picture(grey_levels(frame, self._card.input), verdict, self._card))
        return path


class FreeNames:
    """Names of files of one run of a command, each used once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, name: str) -> str:
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
