"""The one import of torchvision, for whoever needs its networks or data sets; called lazily, inside functions.

torchvision 0.28.0 from the package index is a CUDA build. Beside a CPU build of torch its C++ operators fail to load in
silence, and the import then fails aloud, because their schemas are missing (pytorch/vision #9085, #9077). Two stubs mend
the import; ``ops.nms`` and ``torchvision.io`` stay broken, and nothing here needs them.
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
"""A library's definitions live as long as it does."""


@cache
def torchvision() -> ModuleType:
    """The module torchvision.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise MissingExtra(f"this needs torchvision: {remedy('train')}") from error
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _define_missing_operators()
    return importlib.import_module("torchvision")


def fetched(name: str, folder: Path, *, train: bool = True, download: bool = True) -> Any:
    """A data set of torchvision's in a folder, downloaded into it where asked for and not there yet.

    Raises:
        DataError: it cannot be fetched, or what is there is damaged.
        MissingExtra: torchvision is not installed.
    """
    known = getattr(torchvision().datasets, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what is told there must not get among figures
            return known(str(folder), train=train, download=download)
    except (RuntimeError, OSError) as error:
        what = "could be neither found nor fetched" if download else "cannot be read"
        reason = " ".join(str(error).split())
        raise DataError(f"{folder}: torchvision's {name} {what}: {reason}. Give root=PATH with whole files.") from error


def _define_missing_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _STUBS.append(library)
