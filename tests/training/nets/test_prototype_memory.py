"""Memory of prototypes that are addressed by similarity."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from andon.training.nets.prototype_memory import Memory, entropy, how_used, lay_out, usage


@given(st.integers(2, 60), st.sampled_from(["cosine", "dot"]), st.floats(0.0, 500.0), st.integers(0, 10_000))
def test_addressing_is_a_mixture_that_keeps_the_most_alike(
    count: int, similarity: str, shrink: float, seed: int
) -> None:
    torch.manual_seed(seed)
    memory, codes = Memory(count, 4, similarity=similarity, shrink=shrink), 3 * torch.randn(5, 4)

    with torch.no_grad():
        weights, unshrunk = memory.address(codes), Memory.address(_without_shrinkage(memory), codes)

    assert bool((weights >= 0).all())
    assert torch.allclose(weights.sum(dim=1), torch.ones(5), atol=1e-5)
    most = unshrunk.argmax(dim=1, keepdim=True)
    assert bool((weights.gather(1, most) >= unshrunk.gather(1, most) - 1e-6).all())


def _without_shrinkage(memory: Memory) -> Memory:
    plain = Memory(*memory.items.shape, similarity="cosine" if memory.by_direction else "dot", shrink=0.0)
    plain.load_state_dict(memory.state_dict())
    return plain


def test_items_little_alike_get_nothing() -> None:
    memory = Memory(4, 2, similarity="cosine", shrink=1.0)
    with torch.no_grad():
        memory.items.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, -1.0]]))

        weights = memory.address(torch.tensor([2.0, 0.1]))

    assert (weights > 0).tolist() == [True, True, False, False]


def test_the_step_of_shrinkage_is_a_ramp_so_that_rounding_cannot_switch_an_item_off() -> None:
    memory = Memory(2, 1, similarity="dot", shrink=0.5)  # the threshold is a weight of .25
    with torch.no_grad():
        memory.items.copy_(torch.tensor([[1.0], [-1.0]]))
        at = 0.5 * math.log(3)  # weights .75 and .25

        just_below, just_above = memory.address(torch.tensor([[at + 1e-6], [at - 1e-6]]))

    assert float((just_below - just_above).abs().max()) < 1e-4


def test_codes_are_compared_by_direction_unless_asked_otherwise() -> None:
    by_direction, by_product = (Memory(6, 3, similarity=name, shrink=0.0) for name in ("cosine", "dot"))
    code = torch.randn(1, 3)

    assert torch.allclose(by_direction.address(code), by_direction.address(5 * code), atol=1e-6)
    assert not torch.allclose(by_product.address(code), by_product.address(5 * code), atol=1e-3)


def test_dead_items_are_laid_onto_codes_far_from_the_living_ones() -> None:
    memory = Memory(3, 2, similarity="dot", shrink=0.0)
    codes = torch.tensor([[0.0, 0.0]] * 20 + [[9.0, 0.0]] * 20 + [[0.0, 9.0]] * 20)
    with torch.no_grad():
        memory.items.copy_(torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1]]))
        lay_out(memory, codes, torch.tensor([False, True, True]), torch.Generator().manual_seed(0))

    assert memory.items[0].tolist() == [0.0, 0.0]
    assert sorted(memory.items[1:].tolist()) == [[0.0, 9.0], [9.0, 0.0]]


def test_fewer_different_codes_than_items_still_lay_out_all_of_them() -> None:
    memory = Memory(5, 2, similarity="cosine", shrink=0.0)
    with torch.no_grad():
        lay_out(memory, torch.ones(3, 2), torch.ones(5, dtype=torch.bool), torch.Generator().manual_seed(0))

    assert memory.items.tolist() == [[1.0, 1.0]] * 5


@given(st.integers(1, 500))
def test_the_entropy_of_equal_weights_is_the_logarithm_of_their_number(count: int) -> None:
    assert entropy(torch.full((count,), 1 / count)).item() == pytest.approx(math.log(count), abs=1e-4)


def test_a_memory_read_evenly_is_all_in_use_and_one_that_is_read_at_one_place_is_not() -> None:
    even, one = torch.full((3, 2, 4), 0.25), torch.eye(4)[:1].expand(3, 2, 4)

    assert usage(even).tolist() == [0.25] * 4
    assert how_used(even) == pytest.approx({"entropy": math.log(4), "memory_in_use": 1.0, "memory_breadth": 1.0})
    assert how_used(one) == pytest.approx({"entropy": 0.0, "memory_in_use": 0.25, "memory_breadth": 0.25}, abs=1e-6)
