"""New parts as mixtures of codes, and decoding of single items."""

import torch
from torch import Generator

from andon.training.sampling.memory import lone_items, neighbours


def test_codes_are_mixed_with_such_as_are_like_them() -> None:
    clusters = torch.cat([torch.randn(20, 1, 3), 100 + torch.randn(20, 1, 3)])

    first, second, share = neighbours(clusters, 200, Generator().manual_seed(0))

    assert first.shape == second.shape == (200, 1, 3)
    assert bool(((first > 50) == (second > 50)).all())
    assert 0 <= float(share.min()) < 0.1
    assert 0.9 < float(share.max()) <= 1


def test_the_same_seed_gives_the_same_neighbours_and_a_single_code_is_its_own() -> None:
    kept = torch.randn(30, 2, 3)

    one, again = (neighbours(kept, 10, Generator().manual_seed(4)) for _ in range(2))
    alone, own, _ = neighbours(kept[:1], 3, Generator().manual_seed(4))

    assert all(torch.equal(*pair) for pair in zip(one, again, strict=True))
    assert torch.equal(alone, own)


def test_an_item_stands_alone_where_it_is_read_most_amid_what_is_read_on_average() -> None:
    read = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])  # two parts, two positions, two items

    weights = lone_items(read)

    assert torch.allclose(weights[0], torch.tensor([[1.0, 0.0], [0.3, 0.7]]))
    assert torch.allclose(weights[1], torch.tensor([[0.8, 0.2], [0.0, 1.0]]))
