"""The concepts page lists what every detector gives as evidence."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from andon.runtime.schema import FrameSpec
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_log
from andon.training.recipe.recipe import Recipe, detectors, recipe

PAGE = Path(__file__).parents[2] / "docs" / "concepts.md"


def listed() -> dict[str, set[str]]:
    """Return the names of maps and scores by detector, from the table of the page."""
    table = (
        PAGE.read_text(encoding="utf-8")
        .partition("| detector | NAME | meaning |\n|---|---|---|\n")[2]
        .partition("\n\n")[0]
    )
    names: dict[str, set[str]] = {}
    owners: list[str] = []
    for row in table.strip().splitlines():
        first, second, _ = (cell.strip() for cell in row.strip("|").split("|"))
        owners = re.findall(r"`(\w+)`", first) or owners
        for owner in owners:
            names.setdefault(owner, set()).update(re.findall(r"`(\w+)`", second))
    return names


def given(known: Recipe) -> set[str]:
    """Return the names of maps and scores that a detector gives with its small settings, without training."""
    names: set[str] = set()
    for settings in (known.tiny, *known.variants.values()):
        found: Any = SyntheticFrames(2).found if known.gives == "frame" else synthetic_log(200).found
        spec = known.wanted_input(settings, found)
        shape = (spec.channels, *spec.size) if isinstance(spec, FrameSpec) else (spec.steps, len(spec.channels))
        with torch.no_grad():
            evidence = known.build(settings, spec).eval()(torch.rand(2, *shape))
        names |= {*evidence.maps, *evidence.scores}
    return names


def test_the_table_of_evidence_has_every_detector() -> None:
    assert sorted(listed()) == detectors()


@pytest.mark.parametrize("name", detectors())
def test_the_table_of_evidence_has_all_maps_and_scores_of_a_detector(name: str) -> None:
    assert listed()[name] == given(recipe(name))
