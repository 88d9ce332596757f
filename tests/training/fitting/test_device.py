"""The requested device or a refusal; MPS is tested as far as possible without one."""

from typing import Any

import pytest
import torch
from tests.training.flat import train
from tests.training.in_memory import Here, Parts
from torch import nn

from andon.foundation.errors import DeviceError
from andon.sources.series.log import Log
from andon.training.contract.synthetic_data import synthetic_log
from andon.training.fitting.device import (
    as_device,
    device_named,
    device_of,
    preserve_rng,
    preserve_state,
    random_state,
    set_random_state,
)
from andon.training.fitting.gradient_descent import Plan, _Descent

CPU, MPS = torch.device("cpu"), torch.device("mps")


def there(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False, built: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: built)


def test_auto_takes_cuda_and_never_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, mps=True)
    assert device_named("auto").type == "cpu"

    there(monkeypatch, cuda=True, mps=True)
    assert device_named("auto").type == "cuda"
    assert device_named("cpu").type == "cpu"


def test_mps_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, mps=True)

    assert device_named("mps").type == "mps"


@pytest.mark.parametrize(
    ("wanted", "built", "words"),
    [
        ("cuda", False, r"--device cuda: PyTorch finds no CUDA device on this machine\. Use --device cpu"),
        ("mps", False, r"--device mps: .*built without it.*Use --device cpu"),
        ("mps", True, r"--device mps: .*macOS 14.*Use --device cpu"),
        ("metal", False, r"--device: expected 'cpu', 'cuda', 'mps' or 'auto', got 'metal'"),
    ],
)
def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str, built: bool, words: str) -> None:
    there(monkeypatch, built=built)

    with pytest.raises(DeviceError, match=words):
        device_named(wanted)


def test_training_and_comparing_refuse_it_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    there(monkeypatch)
    log: Log = synthetic_log(200)

    with pytest.raises(DeviceError, match="--device mps: PyTorch finds no such device"):
        train("window_vae", log, tmp_path / "run", device="mps")
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_where_it_was() -> None:
    assert [as_device(name) for name in ("cpu", "cuda", "mps", "xpu")] == ["cpu", "cuda", "mps", "cpu"]


class Generator:
    """The generator of MPS, as PyTorch's functions access it."""

    def __init__(self) -> None:
        self.state = torch.arange(4, dtype=torch.uint8)

    def get_rng_state(self) -> torch.Tensor:
        return self.state.clone()

    def set_rng_state(self, state: torch.Tensor) -> None:
        self.state = state.clone()


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Generator:
    generator = Generator()
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get_rng_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set_rng_state)
    return generator


def test_the_generators_of_mps_are_kept_and_put_back(mps: Generator) -> None:
    states = random_state(MPS)
    drawn = torch.rand(3)
    mps.state += 1
    set_random_state(states, MPS)

    assert mps.state.tolist() == [0, 1, 2, 3]
    assert torch.equal(torch.rand(3), drawn)


def test_what_is_drawn_apart_leaves_no_trace(mps: Generator) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    with preserve_rng(MPS):
        torch.rand(9)
        mps.state += 7

    assert torch.equal(torch.rand(2), wanted)
    assert mps.state.tolist() == [0, 1, 2, 3]


def test_states_of_another_device_are_left_alone(mps: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: pytest.fail("there may be no such device"))
    states = random_state(CPU)
    drawn = torch.rand(3)
    set_random_state(states | {"cuda": torch.zeros(1), "mps": torch.zeros(4, dtype=torch.uint8)}, CPU)

    assert mps.state.tolist() == [0, 1, 2, 3]
    assert torch.equal(torch.rand(3), drawn)


def test_a_module_is_where_its_tensors_are() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("here", torch.zeros(1))
            self.register_buffer("there", torch.zeros(1, device="meta"))

    assert device_of(nn.Linear(2, 2)).type == "cpu"
    assert device_of(nn.Identity()).type == "cpu"
    assert device_of(Both()).type == "meta"


def test_on_mps_a_fit_is_in_full_precision_without_a_scaler(mps: Generator) -> None:
    class OnMps(Here):
        device = MPS

    good = Parts(torch.zeros(4, 2, 1), torch.zeros(2, 2, 1))
    fit = _Descent(nn.Linear(1, 1), good, lambda *_: torch.zeros(()), Plan(), OnMps(), feed=None, heavy=True)  # type: ignore[arg-type]

    assert not fit.half
    assert not fit.scaler.is_enabled()
    with torch.autocast(MPS.type, enabled=fit.half):  # exists, although it does nothing
        pass
    assert torch.equal(fit.state().tensors["rng.mps"], mps.state)
    assert not any(
        tensor.dtype == torch.float64 for tensor in fit.state().tensors.values()
    )  # MPS does not support float64


def test_whatever_is_drawn_while_one_looks_is_drawn_again_afterwards_and_modes_come_back_one_by_one() -> None:
    scorer = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()).train()
    scorer[0].eval()
    generator = torch.get_rng_state()

    with preserve_state(scorer):
        torch.rand(3)
        in_between = [module.training for module in scorer.modules()]
        gradients = torch.is_grad_enabled()

    assert in_between == [False, False, False]
    assert not gradients
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in scorer.modules()] == [True, False, True]
