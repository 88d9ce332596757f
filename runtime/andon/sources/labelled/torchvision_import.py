"""The only import of torchvision, for modules that need its networks or data sets. Functions call it when they need it.

torchvision 0.28.0 from the package index is a CUDA build. With a CPU build of torch, its C++ operators fail to load without an
error. The import then raises an error, because the schemas of these operators are missing (pytorch/vision #9085, #9077). Two
stubs make the import work. ``ops.nms`` and ``torchvision.io`` stay broken, but andon does not need them.
"""

import contextlib
import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from andon.foundation.errors import DataError, MissingExtra
from andon.foundation.extras import remedy

_STUBS: list[object] = []
"""References to the stub libraries. The definitions of a library disappear when it is deleted."""


@cache
def torchvision() -> ModuleType:
    """Return the module torchvision.

    Raises:
        MissingExtra: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise MissingExtra(f"this data set or backbone needs torchvision: {remedy('train')}") from error
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _define_missing_operators()
    return importlib.import_module("torchvision")


def torchvision_set(name: str, folder: Path, *, train: bool = True, download: bool = True) -> Any:
    """Open a data set of torchvision in a folder. If `download` is set, torchvision downloads missing files into it.

    Raises:
        DataError: the set cannot be downloaded, or its files are damaged.
        MissingExtra: torchvision is not installed.
    """
    known = getattr(torchvision().datasets, name)
    try:
        with contextlib.redirect_stdout(
            sys.stderr
        ):  # torchvision prints progress to stdout, where andon prints results
            return known(str(folder), train=train, download=download)
    except (RuntimeError, OSError) as error:
        what = "was not found and cannot be downloaded" if download else "cannot be read"
        reason = " ".join(str(error).split())
        raise DataError(
            f"{folder}: torchvision's {name} {what}: {reason}. Give root=PATH of a folder with complete files."
        ) from error


def _define_missing_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _STUBS.append(library)
