"""A session runs on the requested device with the requested threads, or raises an error."""

import logging
import subprocess
import sys
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tests.runtime import forge
from tests.runtime.hand_made import model_bytes, window

from andon.runtime import Detector, DeviceError, ModelFileError, session
from andon.runtime.session import first_line, open_session

NO_CUDA = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(not NO_CUDA, reason="this onnxruntime has CUDA")


@without_cuda
def test_cuda_means_cuda_or_an_error_that_names_the_package() -> None:
    with pytest.raises(DeviceError, match=r"for cuda, got one with.*onnxruntime-gpu"):
        open_session(model_bytes(), device="cuda")


@without_cuda
def test_auto_takes_the_cpu_where_there_is_no_cuda(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        opened = open_session(model_bytes(), device="auto")

    assert opened.device == "cpu"
    assert "running on the CPU" in caplog.text


@pytest.mark.gpu(by="onnxruntime")
def test_cuda_judges_as_the_cpu_does() -> None:
    data = model_bytes()

    on_gpu, on_cpu = Detector.from_bytes(data, device="cuda"), Detector.from_bytes(data, device="cpu")

    assert on_gpu.device == "cuda"
    assert on_gpu(window(1.5)).score == pytest.approx(on_cpu(window(1.5)).score, rel=1e-4)


class _FallsBack:
    """An ONNX Runtime that lists CUDA and then runs on the CPU, as with missing libraries."""

    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, data: bytes, options: Any, *, providers: list[str], **more: Any) -> Any:  # noqa: N802
        if self._raises and providers != ["CPUExecutionProvider"]:
            raise RuntimeError("CUDA failure 35: driver version is insufficient")
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("raises", "why"),
    [(False, "got CPUExecutionProvider, because ONNX Runtime fell back to it"), (True, "CUDA failure 35")],
)
def test_a_silent_fallback_is_an_error(monkeypatch: pytest.MonkeyPatch, raises: bool, why: str) -> None:
    monkeypatch.setattr(session, "onnxruntime", lambda: _FallsBack(raises=raises))

    with pytest.raises(DeviceError, match=why):
        open_session(model_bytes(), device="cuda")
    assert open_session(model_bytes(), device="auto").device == "cpu"


class _WrongCuda(_FallsBack):
    """A CUDA that is really there and computes something else."""

    def __init__(self) -> None:
        super().__init__(raises=False)

    def InferenceSession(self, data: bytes, options: Any, *, providers: list[str], **more: Any) -> Any:  # noqa: N802
        real = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        if providers == ["CPUExecutionProvider"]:
            return real

        class Wrong:
            def get_providers(self) -> list[str]:
                return providers

            def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
                return [array * 2 for array in real.run(names, feed)]

        return Wrong()


def test_a_cuda_that_computes_something_else_never_judges(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "onnxruntime", _WrongCuda)

    with pytest.raises(DeviceError, match=r"golden sample: expected the score .* on this cuda"):
        Detector.from_bytes(model_bytes(), device="cuda")
    assert Detector.from_bytes(model_bytes(), device="auto").device == "cpu"
    assert "running on the CPU instead" in caplog.text


def test_a_misspelt_device_is_refused() -> None:
    with pytest.raises(DeviceError, match="device: expected 'cpu', 'cuda' or 'auto', got 'gpu'"):
        open_session(model_bytes(), device="gpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, -1, 65, 1_000_000])
def test_threads_are_bounded(threads: int) -> None:
    with pytest.raises(DeviceError, match=f"expected an integer from 1 to 64, got {threads}"):
        open_session(model_bytes(), threads=threads)


@pytest.mark.parametrize("threads", [2.5, 1.0, "2", None, True, [1]])
def test_threads_are_a_whole_number(threads: Any) -> None:
    with pytest.raises(
        DeviceError, match=r"threads: expected an integer from 1 to 64, got .*\. Example: threads=1"
    ) as refusal:
        open_session(model_bytes(), threads=threads)
    assert repr(threads) in str(refusal.value)


def test_threads_may_be_a_whole_number_of_numpy() -> None:
    assert open_session(model_bytes(), threads=np.int64(2)).device == "cpu"  # type: ignore[arg-type]


def test_two_threads_decide_as_one() -> None:
    one, two = (Detector.from_bytes(model_bytes(), threads=threads) for threads in (1, 2))

    assert one(window(1.25)).score == two(window(1.25)).score


def test_what_is_no_graph_is_a_bad_file() -> None:
    with pytest.raises(ModelFileError, match="ONNX Runtime cannot load the graph"):
        open_session(b"no graph")


def test_bytes_are_opened_as_onnx_whatever_they_look_like() -> None:
    marked = forge.ort_marked(model_bytes())

    session = open_session(marked)

    (score,) = session.run(["score"], {"window": window(1.5)[np.newaxis]})
    assert score == pytest.approx([1.5**2])


def test_the_first_line_of_an_error_is_never_empty_and_never_long() -> None:
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("\n one \n two")) == "one"
    assert len(first_line(ValueError("x" * 1000))) == 300


def test_what_onnx_runtime_says_of_foreign_names_is_printable() -> None:
    forged = forge.onnx_edit(
        model_bytes(),
        lambda model: model.graph.node.append(
            helper.make_node("Abs", ["\x1b[2J\u202e"], ["x"], name="\x1b]0;pwned\x07")
        ),
    )

    with pytest.raises(ModelFileError, match="ONNX Runtime cannot load the graph") as refusal:
        open_session(forged)
    assert str(refusal.value).isprintable()
    assert first_line(ValueError("\x1b[2J")) == r"\x1b[2J"


def test_onnxruntime_imported_before_andon_is_warned_of() -> None:
    script = "import onnxruntime, logging; logging.basicConfig(); import andon.runtime"

    told = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True)

    assert "set ORT_DISABLE_TELEMETRY=1 before its first import" in told.stderr


def test_a_bad_graph_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError):
        open_session(b"no graph")

    assert capfd.readouterr() == ("", "")


def test_the_sessions_of_the_host_still_tell_their_errors(capfd: pytest.CaptureFixture[str]) -> None:
    open_session(model_bytes())
    x, shape, y = (
        helper.make_tensor_value_info(*info)
        for info in (
            ("x", TensorProto.FLOAT, ["n"]),
            ("shape", TensorProto.INT64, ["k"]),
            ("y", TensorProto.FLOAT, None),
        )
    )
    graph = helper.make_graph([helper.make_node("Reshape", ["x", "shape"], ["y"])], "host", [x, shape], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    of_host = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    errors = onnxruntime.capi.onnxruntime_pybind11_state
    with pytest.raises((errors.Fail, errors.RuntimeException)):  # the second one in onnxruntime 1.20
        of_host.run(None, {"x": np.zeros(3, np.float32), "shape": np.array([2, 2])})
    assert "running Reshape node" in capfd.readouterr().err
