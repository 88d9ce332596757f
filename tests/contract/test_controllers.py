"""Run the contract checks on all registered controllers. A new controller needs a peer here."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from andon.foundation.registry import load, names
from andon.foundation.secret import Secret
from andon.monitor.controller_contract import CHECKS, ControllerSpecimen
from andon.monitor.controller_kind import ControllerKind

CANARY = "canary-51d7-secret"
SECRET = Secret(env="ANDON_TEST_CONTROLLER_SECRET")
MISSING = Secret(env="ANDON_TEST_NO_SUCH_VARIABLE")

PEERS: dict[str, Callable[[ControllerKind], AbstractContextManager[ControllerSpecimen]]] = {}
"""For each controller, a function that starts a peer on loopback and returns the specimen with it."""


@pytest.fixture(params=names("andon.controllers"))
def specimen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControllerSpecimen]:
    name: str = request.param
    assert name in PEERS, f"the controller {name}: expected a peer for the contract in {__file__}, found none"
    monkeypatch.setenv(str(SECRET.env), CANARY)
    with PEERS[name](load("andon.controllers", name)) as made:
        yield made


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_controller_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
