"""What every detector must do, run over all that the registry lists: a new one is checked by existing."""

import pytest

from andon.training.contract import CHECKS, Specimen
from andon.training.recipe import detectors, recipe


@pytest.fixture(scope="session", params=detectors())
def specimen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return Specimen(recipe(request.param), tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_detector_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
