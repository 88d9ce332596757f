"""The examples of CONTRIBUTING.md are right: the detector keeps the contract, and the settings of packages are the real ones."""

import importlib.util
import tomllib
from pathlib import Path

import pytest
from tests.docs.pages import Block, blocks

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"


def _block(language: str, text: str) -> Block:
    (found,) = [block for block in blocks(GUIDE) if block.language == language and text in block.text]
    return found


@pytest.mark.slow
def test_the_detector_of_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    from andon.training.contract.checks import CHECKS, Specimen

    path = tmp_path / "mean_picture.py"
    path.write_text(_block("python", "RECIPE = Recipe(").text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mean_picture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    specimen = Specimen(module.RECIPE, tmp_path / "specimen")

    for check in CHECKS:
        check(specimen)


@pytest.mark.parametrize("example", ["third_party_detector", "third_party_source", "third_party_sink"])
def test_the_guide_shows_what_the_example_packages_have(example: str) -> None:
    real = tomllib.loads((ROOT / "examples" / example / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = tomllib.loads(_block("toml", real["name"]).text)["project"]

    assert shown == {key: real[key] for key in shown}
    assert "entry-points" in shown
