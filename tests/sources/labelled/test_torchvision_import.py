"""torchvision works with any build of torch."""

from pathlib import Path

import pytest
import torch

from andon.foundation.errors import DataError
from andon.sources.labelled.torchvision_import import torchvision, torchvision_set


def test_torchvision_imports_and_its_networks_run_beside_this_torch() -> None:
    module = torchvision()

    from torchvision.models import resnet18

    assert module.__version__
    assert resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


def test_asking_twice_gives_the_same_module() -> None:
    assert torchvision() is torchvision()


@pytest.mark.slow
def test_what_cannot_be_fetched_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # a port without a server
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(
        DataError, match=r"torchvision's MNIST was not found and cannot be downloaded: .* Give root=PATH"
    ) as refusal:
        torchvision_set("MNIST", tmp_path)
    assert "\n" not in str(refusal.value)
