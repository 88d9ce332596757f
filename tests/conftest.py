"""Settings for all tests: one thread, one seed, and skips for tests that need data or hardware which is missing here."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch and numpy start their pools
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import functools
import importlib.util
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests.no_collection import no_collection

_DATA = "ANDON_DATA"


# One profile for all tests. There is no deadline, because the machine is shared and tests do not check time by default.
# On a developer's machine each run draws new examples, and hypothesis stores counterexamples. With CI set, the examples are
# always the same, because a CI run must fail because of the change and not by chance.
settings.register_profile(
    "andon",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize="CI" in os.environ,
    database=None if "CI" in os.environ else settings().database,
)
settings.load_profile("andon")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write the golden texts again; review them as a diff")
    parser.addoption(
        "--skip-missing", action="store_true", help="skip tests that need a package which is not installed"
    )


@pytest.fixture
def golden_text(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text that people read with the one in `golden/` next to the test: ``golden_text(name, text)``."""

    def compare(name: str, text: str) -> None:
        kept = request.path.parent / "golden" / name
        if request.config.getoption("--renew-golden"):
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(text, encoding="utf-8", newline="\n")
        assert text == kept.read_text(encoding="utf-8"), (
            f"{name} changed. If this is intended, run pytest with --renew-golden"
        )

    return compare


class ModuleThatMayBeSkipped(pytest.Module):
    """A test module that is skipped if a package that it imports is not installed."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Import the module and list its tests."""
        try:
            return super().collect()
        except self.CollectError as error:
            if package := _missing_package(error):
                pytest.skip(f"no {package}", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if not parent.config.getoption("--skip-missing"):
        return None
    return ModuleThatMayBeSkipped.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    with no_collection():  # pytest parses the source of a failed assertion
        report = yield
    error = call.excinfo.value if call.excinfo and item.config.getoption("--skip-missing") else None
    if package := _missing_package(error):
        path, line, _ = item.location
        report.outcome, report.longrepr = "skipped", (path, line or 0, f"no {package}")
    return report


def _missing_package(error: BaseException | None) -> str:
    """Return the package whose absence caused an error, or an empty text."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            if package not in ("andon", "tests") and importlib.util.find_spec(package) is None:
                return package
        error = error.__cause__ or error.__context__
    return ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use one process for files and tests named on the command line, up to four for whole folders.

    A worker needs several seconds to import PyTorch, which pays off only for many tests.
    """
    named = any("::" in word or word.endswith(".py") for word in config.args)
    return 0 if named else min(4, _cores())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, because they share its fixtures.

    The contract tests are split by detector: they share one trained run each, and as one file they would keep a single
    process busy for most of the time.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixtures(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no type hints
        def _split_scope(self, nodeid: str) -> str:
            path, _, test = nodeid.partition("::")
            if not path.startswith("tests/contract/"):
                return path
            _, _, specimen_and_check = test.partition("[")
            return f"{path}[{specimen_and_check.rpartition('-')[0]}"

    return ByFixtures(config, log)


def pytest_configure() -> None:
    # with such small networks more threads are slower, and another number of threads gives other weights
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
    if importlib.util.find_spec("cv2") is not None:
        import cv2

        cv2.setNumThreads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_data, no_gpu = _no_data(), functools.cache(_no_gpu)
    for item in items:
        marker = item.get_closest_marker("gpu")
        reasons = [no_data] if item.get_closest_marker("data") else []
        reasons += [no_gpu(marker.kwargs.get("by", "torch"))] if marker else []
        for reason in filter(None, reasons):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed PyTorch's global generator. pytest-randomly does the same for `random` and numpy."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.manual_seed(0)


@pytest.fixture(scope="session")
def andon_data() -> Path:
    """Return the folder of real pictures and logs, only for tests marked `data`."""
    return Path(os.environ[_DATA])


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _no_data() -> str:
    folder = os.environ.get(_DATA, "")
    if not folder:
        return f"{_DATA} is not set"
    return "" if Path(folder).is_dir() else f"{_DATA}={folder} is not a folder"


def _no_gpu(by: str) -> str:
    """Return why this package cannot use a GPU, or an empty text if it can."""
    if by == "onnxruntime":
        from benchmarks.gpu import no_cuda

        why = no_cuda()
        return f"no session opens with CUDAExecutionProvider: {why}" if why else ""
    if importlib.util.find_spec("torch") is None:
        return "no torch"
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device"
