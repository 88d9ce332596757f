"""Find the CUDA libraries that ONNX Runtime needs and this machine does not have.

ONNX Runtime prints a missing library on standard error and then uses the CPU. It raises no error that names the library.
"""

import ctypes
import re
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

PROVIDER = "libonnxruntime_providers_cuda.so"
DRIVER = "libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll"
"""The library of the driver. It is not in a Python package."""

_PRINTED = re.compile(r"\blib(?:cu|nv)[A-Za-z]+\.so(?:\.\d+)*")
_SECTION_DYNAMIC, _TAG_NEEDED, _MOST_BYTES = 6, 1, 1 << 20


def needed_libraries(provider: Path) -> tuple[str, ...]:
    """Return the names of the NVIDIA libraries that a library of 64-bit Linux needs, without the driver.

    The result is empty if the file does not exist or is of another kind.

    Source: System V Application Binary Interface, chapters 4 and 5 (section headers, dynamic section).
    """
    try:
        with provider.open("rb") as file:
            names = _needed(file)
    except (OSError, ValueError, struct.error):
        return ()
    return tuple(name for name in names if _PRINTED.fullmatch(name) and name != DRIVER)


def _needed(file: BinaryIO) -> list[str]:
    """Return the names in the dynamic section of an ELF file."""
    header = file.read(64)
    if header[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
        return []
    (table,) = struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<HH", header, 58)
    # type, offset, size and link of each section
    sections = []
    for number in range(count):
        file.seek(table + number * size)
        _, kind, _, _, offset, length, link = struct.unpack("<IIQQQQI", file.read(44))
        sections.append((kind, offset, length, link))
    for kind, offset, length, link in sections:
        if kind != _SECTION_DYNAMIC:
            continue
        file.seek(offset)
        entries = file.read(min(length, _MOST_BYTES))
        _, start, extent, _ = sections[link]
        file.seek(start)
        texts = file.read(min(extent, _MOST_BYTES))
        places = [value for tag, value in struct.iter_unpack("<qQ", entries) if tag == _TAG_NEEDED]
        return [texts[place : texts.index(b"\0", place)].decode("ascii") for place in places]
    return []


def missing_libraries(names: Iterable[str], load: Callable[[str], object] = ctypes.CDLL) -> tuple[str, ...]:
    """Return the names that cannot be loaded.

    Args:
        names: libraries, as the loader of the system finds them.
        load: function that loads one of them, and raises OSError if it cannot.
    """
    missing = []
    for name in names:
        try:
            load(name)
        except OSError:
            missing.append(name)
    return tuple(missing)


def libraries_in(text: str) -> tuple[str, ...]:
    """Return the NVIDIA libraries that a message names, in their order.

    >>> libraries_in("Failed to load libcublasLt.so.13: cannot open shared object file")
    ('libcublasLt.so.13',)
    """
    return tuple(dict.fromkeys(_PRINTED.findall(text)))


def install_line(wheel_version: str) -> str:
    """Return the command that installs the CUDA libraries for a version of onnxruntime-gpu.

    The extras of 1.27.0 ask for a package that does not exist, so this version is replaced.

    >>> install_line("1.31.1")
    "pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'"
    """
    wanted = f"=={wheel_version}" if wheel_version and not wheel_version.startswith("1.27.") else ">=1.28"
    return f"pip install 'onnxruntime-gpu[cuda,cudnn]{wanted}'"
