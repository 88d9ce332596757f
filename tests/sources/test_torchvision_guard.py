"""torchvision beside any build of torch."""

import torch

from andon.sources.torchvision_guard import torchvision


def test_torchvision_imports_and_its_networks_run_beside_this_torch() -> None:
    module = torchvision()

    from torchvision.models import resnet18

    assert module.__version__
    assert resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


def test_asking_twice_gives_the_same_module() -> None:
    assert torchvision() is torchvision()
