"""The libraries that CUDA needs are read from the provider library and from messages."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from andon.foundation.cuda_libraries import install_line, libraries_in, missing_libraries, needed_libraries


@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")
def test_the_libraries_of_nvidia_are_read_from_the_dynamic_section(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    # a name in the data is not needed
    source.write_text('const char *other = "libcudart.so.12";\n', encoding="utf-8")
    for name in ("libcublasLt.so.13", "libcuda.so.1", "libother.so.1"):
        subprocess.run(["gcc", "-shared", "-o", name, source, f"-Wl,-soname,{name}"], cwd=tmp_path, check=True)
    parts = ["./libcublasLt.so.13", "./libcuda.so.1", "./libother.so.1"]
    subprocess.run(
        ["gcc", "-shared", "-o", "provider.so", source, "-Wl,--no-as-needed", *parts], cwd=tmp_path, check=True
    )

    assert needed_libraries(tmp_path / "provider.so") == ("libcublasLt.so.13",)


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF\x02\x01" + b"\xff" * 58, b"\x7fELF\x02\x01"])
def test_a_file_that_is_not_a_library_needs_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "provider.so").write_bytes(content)

    assert needed_libraries(tmp_path / "provider.so") == ()
    assert needed_libraries(tmp_path / "missing.so") == ()


def test_a_library_that_cannot_be_loaded_is_missing() -> None:
    def load(name: str) -> None:
        if name != "there":
            raise OSError(name)

    assert missing_libraries(["there", "not there"], load) == ("not there",)
    assert missing_libraries(["libandon-does-not-exist.so.1"]) == ("libandon-does-not-exist.so.1",)


def test_libraries_are_read_from_what_onnx_runtime_prints() -> None:
    printed = (
        "Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file\n"
        "Failed to load libcudnn.so.9: no\n"
    )

    assert libraries_in(printed) == ("libcublasLt.so.13", "libcudnn.so.9")


def test_the_version_whose_extras_cannot_be_resolved_is_not_offered() -> None:
    assert install_line("1.27.0") == install_line("") == "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.28'"
    assert install_line("1.26.0") == "pip install 'onnxruntime-gpu[cuda,cudnn]==1.26.0'"
