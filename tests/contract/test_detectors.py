"""Run the contract checks on all registered detectors. A new detector is checked as soon as it is registered."""

from typing import Any

import msgspec
import pytest

from andon.training.contract.checks import CHECKS, Specimen
from andon.training.recipe.recipe import detectors, recipe


def specimens() -> list[Any]:
    """Return all detectors with their `tiny` settings. Their variants are slow tests."""
    return [
        pytest.param(
            (name, variant), id="-".join(filter(None, (name, variant))), marks=[pytest.mark.slow] if variant else []
        )
        for name in detectors()
        for variant in ("", *recipe(name).variants)
    ]


@pytest.fixture(scope="session", params=specimens())
def specimen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    name, variant = request.param
    known = recipe(name)
    tiny = known.variants[variant] if variant else known.tiny
    return Specimen(msgspec.structs.replace(known, tiny=tiny), tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_detector_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
