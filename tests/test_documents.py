"""The documents are correct: links work, commands and flags exist, and no path of a developer's machine is in them."""

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from andon.cli import _parser, _refuse_unknown_command, _refuse_unknown_flag

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _blocks(page: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def _tracked() -> list[Path]:
    """Return the tracked files. Skip the test in a source archive."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _texts() -> Iterator[tuple[Path, str]]:
    for path in _tracked():
        with contextlib.suppress(UnicodeDecodeError):
            yield path, path.read_text(encoding="utf-8")


def _commands(page: Path) -> list[str]:
    """Return the lines of shell blocks that run andon, without prompts, comments and pipes."""
    lines = [line for block in _blocks(page, "sh", "bash", "console", "") for line in block.splitlines()]
    pieces = [piece for line in lines for piece in re.split(r"&&|\||;", line)]
    bare = [re.sub(r"^\$ |^(?:\.venv/bin/|python3? -m )(?=andon)", "", piece.strip()) for piece in pieces]
    return [command for command in bare if re.match(r"andon( |$)", command)]


COMMANDS = [(_name(page), command) for page in PAGES for command in _commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_link_within_the_repository_leads_to_a_file_and_its_heading(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)

    assert broken == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*?) *$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_no_place_holder_is_left(page: Path) -> None:
    assert re.findall(r"@@\w+@@|TODO|FIXME|XXX", page.read_text(encoding="utf-8")) == []


def test_the_readme_shows_commands() -> None:
    assert len([page for page, _ in COMMANDS if page == "README.md"]) > 8


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS])
def test_a_command_in_a_document_is_one_that_andon_takes(page: str, command: str) -> None:
    words = shlex.split(command.replace("[", "").replace("]", ""), comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words  # the shell takes the rest
    words = [word for word in words if word != "2>"]

    _refuse_unknown_command(words)
    parser, flags = _parser(words)
    _refuse_unknown_flag(words, flags, parser)
    if "--help" in words:
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit, match="0"):
            parser.parse_args(words)
    else:
        assert parser.parse_known_args(words)[1] == []


def test_commands_are_found_whatever_stands_before_and_after_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\npip install x && .venv/bin/andon demo   # and then\n$ andon inspect a.onnx | less\nls andon\n```\n"
        "1. list\n\n   ```sh\n   andon score a b\n   ```\n```python\nandon = 1\n```\n",
        encoding="utf-8",
    )

    assert _commands(page) == ["andon demo   # and then", "andon inspect a.onnx", "andon score a b"]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_python_in_a_document_compiles(page: Path) -> None:
    for block in _blocks(page, "python", "py"):
        lines = block.splitlines()
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        ast.parse("\n".join(line[margin:] for line in lines))


def test_the_readme_embeds_what_the_runtime_has() -> None:
    import andon.runtime

    imports = [
        alias.name
        for block in _blocks(ROOT / "README.md", "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module == "andon.runtime"
        for alias in node.names
    ]
    assert imports
    assert [name for name in imports if not hasattr(andon.runtime, name)] == []


def test_the_gate_runs_the_readmes_own_test_command() -> None:
    gate = (ROOT / ".ci/run").read_text(encoding="utf-8")
    lines = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if ".venv/bin/pytest" in line
    ]

    assert "grep -F '.venv/bin/pytest' README.md | head -n 1" in gate
    assert lines[0].split("&&")[-1].strip() == ".venv/bin/pytest"
    assert "python3 -m venv .venv" in lines[0]
    assert '".[dev]"' in lines[0]


def test_every_detector_and_extra_that_the_readme_names_exists() -> None:
    import tomllib

    from andon.foundation.registry import names

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    table = re.findall(r"^\| `(\w+)` \| (?:frames|windows)", readme, re.MULTILINE)
    assert sorted(table) == names("andon.detectors")
    assert set(re.findall(r"`\[(\w+)\]`", readme)) <= set(extras)


def test_no_place_of_the_makers_machine_is_in_a_tracked_file() -> None:
    # joined here, so that this file does not contain them
    homes = [re.escape(str(Path.home()) + "/"), r"/(?:home|Users)/\w+/", r"(?<![\w.])/" + "work/"]
    places = re.compile("|".join([*homes, re.escape(str(ROOT) + "/")]))
    made_up = '"/root/x"'  # a hostile name in a test

    found = [
        f"{_name(path)}: {line.strip()[:100]}"
        for path, text in _texts()
        for line in text.splitlines()
        if places.search(line) and made_up not in line
    ]
    assert found == []


def test_no_package_registry_is_named_in_a_tracked_file() -> None:
    # a lock file that names a registry forces all users to use it, also behind mirrors and proxies
    hosts = [
        ".".join(pieces) for pieces in (("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"))
    ]

    found = [f"{_name(path)}: {host}" for path, text in _texts() for host in hosts if host in text]
    assert found == []


def test_no_data_set_is_in_the_repository() -> None:
    names = [_name(path).lower() for path in _tracked()]

    data = re.compile(
        r"(mvtec|mnist|skab|cifar|kolektor|tennessee)[^/]*\.(png|jpe?g|bmp|npy|npz|csv|parquet|gz|zip|onnx|pt|pth)$"
    )
    assert [name for name in names if data.search(name)] == []
    assert [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))] == []


def test_no_tracked_file_is_large() -> None:
    assert [(_name(path), path.stat().st_size) for path in _tracked() if path.stat().st_size > 1_500_000] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the names of the files in a wheel that is built from this tree."""
    pytest.importorskip(
        "hatchling", reason="the build backend is not installed; pip installs it for its own builds only"
    )
    place = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    (path,) = place.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_the_wheel_holds_all_parts_with_their_types_and_nothing_else(wheel: list[str]) -> None:
    ours = [name for name in wheel if ".dist-info/" not in name]
    packages = {path.parent.name for path in ROOT.glob("*/andon/*/__init__.py")}

    assert {name.split("/")[0] for name in ours} == {"andon"}
    assert {name.split("/")[1] for name in ours if name.count("/") > 1} == packages
    assert {name.split("/")[1] for name in ours if name.endswith("/py.typed")} == packages
    assert "andon/__init__.py" not in ours
    data = {
        path.relative_to(root.parent).as_posix()
        for root in ROOT.glob("*/andon")
        for kind in ("*.j2", "*.html", "*.css", "*.js", "*.svg", "*.toml", "*.onnx")
        for path in root.rglob(kind)
    }
    assert data  # templates and styles of pages, and the example of a line
    assert {name for name in ours if not name.endswith((".py", "py.typed"))} == data
    assert [name for name in ours if any(part.startswith(("tests", "test_")) for part in name.lower().split("/"))] == []


@pytest.mark.slow
def test_the_wheel_holds_every_module_of_the_tree(wheel: list[str]) -> None:
    modules = {
        path.relative_to(root.parent).as_posix()
        for root in ROOT.glob("*/andon")
        if root.parent.name != "tests"
        for path in root.rglob("*.py")
    }

    assert modules == {name for name in wheel if name.endswith(".py")}


@pytest.mark.slow
def test_the_wheel_brings_licence_and_command(wheel: list[str]) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert any(name.endswith("entry_points.txt") for name in wheel)


def test_the_readme_quotes_the_figures_of_cookies_that_the_results_have() -> None:
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = results.partition("### Cookies\n")[2].partition("\n#")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    caption = readme.partition("The first test parts of each kind")[2].partition("*Photographs")[0]

    assert re.findall(r"AUROC ([\d.]*\d)", caption) == re.findall(r"^.*? AUROC ([\d.]*\d)", section, re.MULTILINE)[:1]
    assert re.findall(r"([\d.]+) % of the broken", caption) == re.findall(r"missed ([\d.]+) %", section)


@pytest.mark.parametrize("page", ["README.md", "runtime/andon/cli/monitor.py"])
def test_no_user_is_led_to_expect_a_review_that_no_file_gives(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    assert [line for line in text.splitlines() if "REVIEW" in line and "reserved" not in line] == []


def test_the_readme_does_not_promise_to_see_a_covered_lens() -> None:
    assert "a covered lens is INVALID" not in (ROOT / "README.md").read_text(encoding="utf-8")
