"""Every command and snippet of README and of the documentation runs, or is marked with the reason why it does not."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import MARKERS, Block, blocks

ROOT = Path(__file__).parents[2]
NOT_RUN = {
    "docs/results.md": "commands that need public data sets and hours; each states its date",
    "docs/model-file.md": "its snippet has a test of its own below",
}
"""Pages that are not run as a whole, and why."""
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.relative_to(ROOT).as_posix() not in NOT_RUN
]
RUN = [page for page in PAGES if any(block.runs for block in blocks(page))]
TIMEOUT_S = 600


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_block_is_run_or_states_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.language in {"sh", "python", "text", "toml", "json", "{toctree}", "{raw} html", "{eval-rst}"}, (
            f"{_name(page)}, line {block.line}: give the block a language; text is for what is not run"
        )
        assert {name for name, _ in block.markers} <= MARKERS, f"{_name(page)}, line {block.line}: unknown marker"
        assert all(text.strip() for _, text in block.markers)
        _ = block.code  # raises if a replacement does not fit


def test_markers_are_read_from_the_lines_before_a_block_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: old -->\ntext\n```sh\na\n```\n\n<!-- in tests: b => c -->\n<!-- fails: 2 -->\n\n   ```sh\n   b\n   ```\n",
        encoding="utf-8",
    )

    first, second = blocks(page)

    assert (first.text, first.markers, first.runs) == ("a\n", (), True)
    assert (second.text, second.code, second.marker("fails")) == ("b\n", "c\n", "2")


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the tutorial, made with its own commands from fewer parts: parts/, run/, washers.onnx."""
    folder = _scratch(tmp_path_factory.mktemp("tutorial"))
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if block.runs and not (folder / "washers.onnx").exists():
            _run(block, folder, "docs/tutorial.md")
    assert (folder / "washers.onnx").is_file()
    return folder


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("page", RUN, ids=_name)
def test_the_commands_of_a_page_run_in_their_order(page: Path, tmp_path: Path, tutorial: Path) -> None:
    found = blocks(page)
    folder = _scratch(tmp_path)
    if any(block.marker("files") == "tutorial" for block in found):
        for path in tutorial.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, folder / path.name)
            elif not path.is_symlink():
                shutil.copy(path, folder)
    missing = {
        package for block in found if (package := block.marker("needs")) and not importlib.util.find_spec(package)
    }
    if missing:
        pytest.skip(f"no {', '.join(sorted(missing))}")

    for block in found:
        if block.runs:
            _run(block, folder, _name(page))


@pytest.mark.slow
def test_the_snippet_of_the_model_file_page_runs(tmp_path: Path, tutorial: Path) -> None:
    shutil.copy(tutorial / "washers.onnx", tmp_path / "bottle.onnx")

    snippets = [block for block in blocks(ROOT / "docs" / "model-file.md") if block.language == "python"]
    assert snippets
    for block in snippets:
        _run(block, tmp_path, "docs/model-file.md")


def _scratch(folder: Path) -> Path:
    """Make the folder look like a checkout, as far as the pages use it."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "tests").symlink_to(ROOT / "tests")
    return folder


def _run(block: Block, folder: Path, page: str) -> None:
    """Run one block in the folder, and fail with its output if the exit code is not the expected one."""
    target = block.marker("saved as")
    if target is not None:
        (folder / target).write_text(block.code, encoding="utf-8")
        return
    command = (
        [sys.executable, "-c", block.code]
        if block.language == "python"
        else ["bash", "-euo", "pipefail", "-c", block.code]
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    expected = int(block.marker("fails") or 0)
    assert done.returncode == expected, (
        f"{page}, line {block.line}: expected exit code {expected}, got {done.returncode}\n{block.code}\n{done.stdout[-2000:]}\n"
        f"{done.stderr[-2000:]}"
    )
