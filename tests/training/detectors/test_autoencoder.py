"""Tests that are specific to the autoencoder without skips."""

import torch

from andon.training.detectors.autoencoder import Autoencoder


def test_at_three_channels_it_has_the_published_1_73_million_parameters() -> None:
    assert round(sum(parameter.numel() for parameter in Autoencoder(3).parameters()) / 1e6, 2) == 1.73


def test_all_that_it_rebuilds_comes_through_the_bottleneck() -> None:
    """Check that nothing of the picture is left without the bottleneck: there is no skip connection."""
    net = Autoencoder(3, narrow=8).eval()
    last_pool = [place for place, step in enumerate(net.encoder) if isinstance(step, torch.nn.MaxPool2d)][-1]
    with torch.no_grad():
        nothing = torch.zeros_like(net.encoder(torch.rand(1, 3, 64, 64)))
        net.encoder[last_pool + 1].register_forward_hook(lambda *_: nothing)
        one, other = net(torch.rand(1, 3, 64, 64)), net(torch.rand(1, 3, 64, 64))

    assert nothing.shape[2:] == (8, 8)
    assert torch.equal(one, other)
