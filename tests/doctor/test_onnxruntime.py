"""A provider counts if a session opened with it, and each reason why it did not has its own remedy."""

from andon.doctor.finding import Finding
from andon.doctor.onnxruntime import check_onnxruntime
from andon.doctor.probe import CUDA, Imported, Opened
from andon.foundation.rival_wheels import Wheels

CPU = "CPUExecutionProvider"
WHEELS = Wheels(module="onnxruntime", installed={"onnxruntime": "1.31.1"}, state="code", in_place="onnxruntime")
GPU = Wheels(module="onnxruntime", installed={"onnxruntime-gpu": "1.31.1"}, state="code", in_place="onnxruntime-gpu")
OPENED = Opened(provider=CPU, runs_on=CPU)
FELL_BACK = Opened(provider=CUDA, runs_on=CPU)


def imported(*opened: Opened, missing: tuple[str, ...] = (), driver: bool = False) -> Imported:
    return Imported(module="onnxruntime", version="1.31.1", opened=opened, missing=missing, driver=driver)


def cuda(result: Imported) -> Finding:
    (found,) = (one for one in check_onnxruntime(GPU, result) if one.subject == "provider CUDA")
    return found


def test_a_runtime_that_works_has_no_remedies() -> None:
    findings = check_onnxruntime(WHEELS, imported(OPENED))

    assert [(one.subject, one.ok, one.remedy) for one in findings] == [
        ("onnxruntime", True, ""),
        ("provider CPU", True, ""),
    ]


def test_a_cuda_that_is_listed_and_falls_back_to_the_cpu_fails() -> None:
    found = cuda(imported(FELL_BACK, OPENED, missing=("libcublasLt.so.13", "libcudnn.so.9")))

    assert not found.ok
    assert "the session runs on CPU instead" in found.text
    assert "libcublasLt.so.13, libcudnn.so.9" in found.text
    assert found.remedy == "pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'"


def test_without_missing_libraries_the_driver_is_to_blame_or_the_gpu() -> None:
    assert "driver of NVIDIA is not installed" in cuda(imported(FELL_BACK)).text
    assert "nvidia-smi" in cuda(imported(FELL_BACK, driver=True)).remedy


def test_a_cuda_that_opens_is_good() -> None:
    assert cuda(imported(Opened(provider=CUDA, runs_on=CUDA), OPENED, driver=True)).ok


def test_a_provider_that_andon_does_not_use_may_fail() -> None:
    tensorrt = Opened(provider="TensorrtExecutionProvider", error="no TensorRT")

    (found,) = (one for one in check_onnxruntime(GPU, imported(tensorrt, OPENED)) if "Tensorrt" in one.subject)

    assert found.ok
    assert "andon does not use it" in found.text


def test_a_driver_without_a_runtime_that_uses_it_is_mentioned() -> None:
    found = check_onnxruntime(WHEELS, imported(OPENED, driver=True))[-1]

    assert found.ok
    assert "has no CUDA" in found.text
    assert "onnxruntime-gpu" in found.remedy


def test_a_module_that_ends_the_process_or_has_no_sessions_is_installed_again() -> None:
    crashed = Imported(module="onnxruntime", error="the process ended with signal 4")

    for result in (crashed, Imported(module="onnxruntime")):
        (found,) = check_onnxruntime(WHEELS, result)
        assert not found.ok
        assert found.remedy == "pip install --force-reinstall --no-deps onnxruntime==1.31.1"


def test_a_cpu_provider_that_does_not_open_fails() -> None:
    found = check_onnxruntime(WHEELS, imported(Opened(provider=CPU, error="no memory")))[-1]

    assert (found.ok, found.text) == (False, "no memory")
