"""The cache folder, for files that andon can create or download again: unpacked data sets and downloads."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ANDON_CACHE"


def cache_folder(environment: Mapping[str, str] = os.environ, *, platform: str = sys.platform) -> Path:
    """Return the folder named by ``ANDON_CACHE``, or the platform's folder for caches. It may not exist yet.

    >>> cache_folder({"ANDON_CACHE": "here"}).as_posix()
    'here'
    """
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    if platform == "win32" and environment.get("LOCALAPPDATA"):
        return Path(environment["LOCALAPPDATA"], "andon", "cache")
    if platform == "darwin":
        return Path("~/Library/Caches/andon").expanduser()
    return Path(environment.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "andon")
