"""Where a training computes: the device by its name, its random generator's state, and a look amid a training that leaves both.

CUDA is used daily by others and tested where there is a GPU. MPS, Apple's GPUs, has never run here: it is only ever taken when
it is asked for, in full precision, and its numbers are nobody's promise. What a training leaves is the same either way.
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
    """The device to learn on; ``auto`` takes CUDA where there is one, never MPS, and else the CPU.

    Raises:
        DeviceError: no such device here, or no such name.
    """
    if wanted not in _DEVICES:
        names = ", ".join(repr(name) for name in _DEVICES[:-1])
        raise DeviceError(f"expected the device {names} or {_DEVICES[-1]!r}, got {wanted!r}.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("cuda was asked for, but this PyTorch sees no CUDA device. Use --device cpu.")
    if wanted == "mps" and not torch.backends.mps.is_available():
        why = (
            "macOS 14 or newer on a Mac with an Apple GPU is needed"
            if torch.backends.mps.is_built()
            else "this PyTorch was built without it, as all are but those for Macs"
        )
        raise DeviceError(f"mps was asked for, but there is no such device: {why}. Use --device cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def as_device(recorded: str) -> Device:
    """What a run folder says it learnt on; an unknown one is the CPU, which is everywhere.

    >>> as_device("mps"), as_device("tpu")
    ('mps', 'cpu')
    """
    return next((known for known in _DEVICES if known == recorded), "cpu")


def random_state(device: torch.device) -> dict[str, Tensor]:
    """States of PyTorch's global generators that a training on this device draws from, by name."""
    states = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `random_state` gave, as far as this device has such a generator."""
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def seeded(seed: int, threads: int | None, device: torch.device) -> Iterator[int]:
    """Seed PyTorch, set its threads and make it deterministic for one training; the caller's state comes back afterwards.

    Args:
        seed: of PyTorch's global generators.
        threads: on the CPU; None: as they are.
        device: to train on.

    Yields:
        The number of threads.
    """
    threads_before = torch.get_num_threads()
    strict_before = torch.get_deterministic_debug_mode()
    with preserve_rng(device):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        # On CUDA some backward passes have no deterministic form, and equality between machines is promised nowhere.
        # The same switch as use_deterministic_algorithms, which would import torch's compiler: two seconds.
        torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
        try:
            yield torch.get_num_threads()
        finally:
            torch.set_num_threads(threads_before)
            torch.set_deterministic_debug_mode(strict_before)


@contextlib.contextmanager
def preserve_rng(device: torch.device) -> Iterator[None]:
    """Give PyTorch's global generators their state back afterwards, whatever is drawn within."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(states, device)


@contextlib.contextmanager
def preserve_state(scorer: nn.Module) -> Iterator[None]:
    """Use a scorer amid its training: no gradients, eval mode; its modes and PyTorch's generators are restored afterwards."""
    modes = [(module, module.training) for module in scorer.modules()]
    with preserve_rng(device_of(scorer)), torch.no_grad():
        scorer.eval()
        try:
            yield
        finally:
            for module, training in modes:  # one by one: a frozen backbone rests in eval mode while the rest learns
                module.training = training


def device_of(scorer: nn.Module) -> torch.device:
    """Where a module's tensors are; the CPU for one that has none."""
    tensors = (*scorer.parameters(), *scorer.buffers())
    return next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
