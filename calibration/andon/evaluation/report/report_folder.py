"""Write the folder of a report: ``index.html`` and pictures. It replaces an earlier report and never touches other files."""

import re
from pathlib import Path

from andon.evaluation.report.html import render
from andon.evaluation.report.page import Page
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError

INDEX = "index.html"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.png")
# as templates/page.html.j2 writes them
_GENERATOR = '<meta name="generator" content="andon evaluate">'
_FILES = re.compile(r'<meta name="andon-files" content="([a-z0-9. -]*)">')
_HEAD_BYTES = 65_536


def require_place(folder: Path) -> None:
    """Refuse a folder that holds anything except an earlier report. A folder that does not exist yet is accepted.

    Raises:
        ConfigError: it is not a folder, or it holds other files.
    """
    _earlier(folder)


def write(page: Page, folder: Path) -> Path:
    """Write ``index.html`` and the pictures, and return the path of the page. An earlier report in the folder is replaced.

    The page is written first. It is complete without the other files, and it lists which pictures belong to the report,
    so that a later run can replace them even if this one is interrupted.

    Raises:
        ConfigError: the folder holds other files, or cannot be written to.
    """
    pictures = {picture.name: picture.png for picture in page.pictures}
    if len(pictures) != len(page.pictures) or not all(_NAME.fullmatch(name) for name in pictures):
        raise ValueError(f"pictures: expected unique names like roc.png, got {[p.name for p in page.pictures]}")
    earlier = _earlier(folder)
    foreign = sorted(name for name in pictures if name not in earlier and (folder / name).exists())
    if foreign:
        raise ConfigError(
            f"{folder / foreign[0]}: expected a picture of an earlier report, got another file. Give --report another folder."
        )
    write_atomically(folder / INDEX, render(page).encode())
    for name, png in pictures.items():
        write_atomically(folder / name, png)
    for name in earlier - pictures.keys():
        (folder / name).unlink(missing_ok=True)
    return folder / INDEX


def _earlier(folder: Path) -> set[str]:
    """Return the names of the pictures of the earlier report in the folder."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return set()
        head = ""
        if (folder / INDEX).is_file():
            with (folder / INDEX).open("rb") as stream:
                head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror or error}.") from error
    files = _FILES.search(head)
    if _GENERATOR not in head or files is None:
        what = "other files" if folder.is_dir() else "a file"
        raise ConfigError(
            f"{folder}: expected an empty folder or an earlier report, got {what}. Give --report a new or an empty folder."
        )
    return {name for name in files[1].split() if _NAME.fullmatch(name)}
