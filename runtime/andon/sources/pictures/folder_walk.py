"""Walk the files below a folder. Recognising a source and reading its files use the same rule."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

MASKS = "ground_truth"
RUN = "run.json"
"""The file that marks a run folder. A run folder below its own data contains drawings, which must not be read as data."""
MOST_LOOKED_AT = 200_000
"""Largest number of entries that are looked at to recognise a folder.

A network folder with millions of files must not delay a command.
"""


def walk(
    root: Path, *, on_unlisted: Callable[[str, OSError], None] | None = None, most: int | None = None
) -> Iterator["os.DirEntry[str]"]:
    """Yield the files below a folder, in no particular order.

    Hidden files and folders, folders named ground_truth and, below the root, run folders (which contain a file run.json) are
    left out. Links to folders are followed, each folder once.

    Args:
        root: the folder.
        on_unlisted: called with a folder below the root that cannot be listed, and the error; the walk then goes on.
        most: stop after this many entries, including folders.

    Raises:
        OSError: the root cannot be listed, or a folder below it if there is no `on_unlisted`.
    """
    left = most
    waiting, seen = [str(root)], set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 - a str in a hot loop
            if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
                continue
            seen.add((status.st_dev, status.st_ino))
            if folder != str(root) and os.path.isfile(os.path.join(folder, RUN)):  # noqa: PTH113, PTH118 - as above
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    left = None if left is None else left - 1
                    if left is not None and left < 0:
                        return
                    if entry.name.startswith("."):
                        continue
                    if not _is_folder(entry):
                        yield entry
                    elif entry.name.casefold() != MASKS:
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            if folder == str(root):
                raise  # any other folder was removed after it was listed
        except OSError as error:
            if on_unlisted is None or folder == str(root):
                raise
            on_unlisted(folder, error)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
