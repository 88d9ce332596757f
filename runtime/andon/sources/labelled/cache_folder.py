"""Where andon may keep what it can make or fetch again: unpacked data sets, downloads."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ANDON_CACHE"


def cache_folder(environment: Mapping[str, str] = os.environ, *, platform: str = sys.platform) -> Path:
    """The folder that ``ANDON_CACHE`` names, else the platform's place for caches; it need not exist yet.

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
