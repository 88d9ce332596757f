"""Write weights as safetensors files, atomically, and check them before loading. Nothing is pickled."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import TrainingError
from andon.runtime.schema import FrameSpec, InputSpec
from andon.training.fitting.device import preserve_state

HEADER = "andon"
"""Key of the only text in the header."""


def write_weights(path: Path, scorer: nn.Module, *, sealed: str = "") -> str:
    """Write the scorer's parameters and buffers atomically, and return the file's sha256.

    Args:
        path: the file to write.
        scorer: in any mode, on any device.
        sealed: the run's `seal`, stored in the file.
    """
    data = packed(scorer.state_dict(), {HEADER: sealed} if sealed else {})
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def load_state(scorer: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Load stored parameters and buffers into a newly built scorer. Buffers take their stored shapes.

    Raises:
        TrainingError: names, types or shapes do not fit.
    """
    for name, own in scorer.state_dict().items():
        if name in tensors and (tensors[name].dtype, tensors[name].dim()) != (own.dtype, own.dim()):
            raise TrainingError(
                f"{where}: weights do not fit this detector: expected {name} as {own.dtype} with {own.dim()} axes, got "
                f"{tensors[name].dtype} with {tensors[name].dim()}. Restore the file, or train again."
            )
    for name, buffer in list(scorer.named_buffers()):
        if name in tensors and tensors[name].shape != buffer.shape:
            owner, _, last = name.rpartition(".")
            # the size of a coreset is known only after the fit
            setattr(scorer.get_submodule(owner), last, torch.empty_like(tensors[name], device=buffer.device))
    try:
        scorer.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise TrainingError(
            f"{where}: weights do not fit this detector: {' '.join(str(error).split()).rstrip('.')}. Restore the file, or train "
            "again."
        ) from error


def check_judges(scorer: nn.Module, spec: InputSpec, *, where: str) -> None:
    """Run the scorer on one item of zeros. Buffers took their stored shapes, and only a run shows whether these fit.

    Raises:
        TrainingError: the scorer fails, so the weights do not fit.
    """
    shape = (1, spec.channels, *spec.size) if isinstance(spec, FrameSpec) else (1, spec.steps, len(spec.channels))
    try:
        with preserve_state(scorer):
            scorer(torch.zeros(shape))
    except (RuntimeError, IndexError) as error:
        raise TrainingError(
            f"{where}: weights do not fit this detector: {' '.join(str(error).split()).rstrip('.')}. Restore the file, or train "
            "again."
        ) from error


def packed(tensors: Mapping[str, Tensor], header: dict[str, str]) -> bytes:
    """Return the content of a safetensors file."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(_unshared(plain), metadata=header or None)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory, because safetensors refuses them. So tied weights are stored twice."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file and its header.

    Raises:
        TrainingError: the file is damaged or missing.
    """
    from safetensors import SafetensorError, safe_open

    with contextlib.ExitStack() as stack:
        try:
            stored = stack.enter_context(safe_open(path, framework="pt"))
            # cloned, because the originals are views of the mapped file, and Windows does not allow replacing a mapped file
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118 - not a mapping
            return tensors, stored.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise TrainingError(
                f"{path}: expected a safetensors file of a run: {error}. Restore the file, or train again."
            ) from error
