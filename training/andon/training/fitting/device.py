"""The device of a training, the state of its random generators, and temporary use of a scorer without side effects.

CUDA is widely used and is tested on machines with a GPU. MPS (Apple's GPUs) has never been tested here. It is used only
on request and in full precision, and nothing is promised about its numbers. The files of a run are the same for all
devices.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from andon.foundation.errors import DeviceError

Device = Literal["cpu", "cuda", "mps", "auto"]
_DEVICES: tuple[Device, ...] = ("cpu", "cuda", "mps", "auto")


def device_named(wanted: str) -> torch.device:
    """Return the device to train on; ``auto`` means CUDA if there is any, else the CPU, and never MPS.

    Raises:
        DeviceError: this machine has no such device, or the name is unknown.
    """
    if wanted not in _DEVICES:
        names = ", ".join(repr(name) for name in _DEVICES[:-1])
        raise DeviceError(f"--device: expected {names} or {_DEVICES[-1]!r}, got {wanted!r}.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: PyTorch finds no CUDA device on this machine. Use --device cpu.")
    if wanted == "mps" and not torch.backends.mps.is_available():
        why = (
            "It needs macOS 14 or newer on a Mac with an Apple GPU"
            if torch.backends.mps.is_built()
            else "This PyTorch was built without it; only builds for Macs have it"
        )
        raise DeviceError(f"--device mps: PyTorch finds no such device on this machine. {why}. Use --device cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def as_device(recorded: str) -> Device:
    """Return the device that a run folder recorded; for an unknown name the CPU, which every machine has.

    >>> as_device("mps"), as_device("tpu")
    ('mps', 'cpu')
    """
    return next((known for known in _DEVICES if known == recorded), "cpu")


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of PyTorch's global generators that a training on this device uses, by name."""
    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the states that `random_state` returned, as far as this device has such generators."""
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def seeded(seed: int, threads: int | None, device: torch.device) -> Iterator[int]:
    """Seed PyTorch, set its threads and make it deterministic for one training. Restore the caller's state afterwards.

    Args:
        seed: seed of PyTorch's global generators.
        threads: number of threads on the CPU, or None to leave it unchanged.
        device: device to train on.

    Yields:
        The number of threads.
    """
    threads_before = torch.get_num_threads()
    strict_before = torch.get_deterministic_debug_mode()
    with preserve_rng(device):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        # Strict on the CPU only: some backward passes have no deterministic form on CUDA. Equal results on different
        # machines are not promised for any device.
        # This is the same switch as use_deterministic_algorithms, which would import torch's compiler (two seconds).
        torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
        try:
            yield torch.get_num_threads()
        finally:
            torch.set_num_threads(threads_before)
            torch.set_deterministic_debug_mode(strict_before)


@contextlib.contextmanager
def preserve_rng(device: torch.device) -> Iterator[None]:
    """Restore the states of PyTorch's global generators at the end of the block."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(states, device)


@contextlib.contextmanager
def preserve_state(scorer: nn.Module) -> Iterator[None]:
    """Use a scorer during its training: in eval mode, without gradients. Then restore its modes and PyTorch's generators."""
    modes = [(module, module.training) for module in scorer.modules()]
    with preserve_rng(device_of(scorer)), torch.no_grad():
        scorer.eval()
        try:
            yield
        finally:
            for module, training in modes:  # one by one: a frozen backbone stays in eval mode while the rest is trained
                module.training = training


def device_of(scorer: nn.Module) -> torch.device:
    """Return the device of a module's tensors; the CPU if it has no tensors."""
    tensors = (*scorer.parameters(), *scorer.buffers())
    return next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
