"""Suspicious pictures among the good ones, found by comparing each with stored patches of others."""

import torch
from torch import Tensor

from andon.training.nets.core_set import k_centre
from andon.training.nets.patch_memory import PatchMemory
from andon.training.nets.suspects import MOST, Drawn, Suspect, cross_fitted, suspects

PICTURES, EACH, CHANNELS = 40, 50, 8


def tap(odd: dict[int, Tensor] | None = None, *, pictures: int = PICTURES, seed: int = 0) -> Drawn:
    """Return drawn patches of similar pictures. `odd` replaces the first patches of some of them."""
    torch.manual_seed(seed)
    rows = torch.randn(pictures, EACH, CHANNELS)
    for place, patches in (odd or {}).items():
        rows[place, : len(patches)] = patches
    flat = rows.flatten(0, 1)
    selected = k_centre(flat, 400, seed=0)
    memory = PatchMemory(CHANNELS)
    memory.fit(flat, selected, weight=1.0, density=1.0, seed=0)
    return Drawn(flat, torch.arange(pictures).repeat_interleave(EACH), selected, memory)


def places(found: list[Suspect]) -> list[int]:
    return [suspect.place for suspect in found]


def test_similar_pictures_are_not_suspicious() -> None:
    assert sum(len(suspects([tap(seed=seed)], PICTURES)) for seed in range(5)) <= 1


def test_a_picture_with_unlike_patches_is_named_although_its_patches_are_stored() -> None:
    drawn = tap({7: 12 + torch.randn(5, CHANNELS)})

    assert (drawn.selected // EACH == 7).sum() >= 5  # the core-set contains them, so its own memory calls them good
    assert places(suspects([drawn], PICTURES)) == [7]


def test_the_oddest_picture_is_named_first_with_its_score_in_units_of_the_median() -> None:
    found = suspects([tap({7: 12 + torch.randn(5, CHANNELS), 9: -20 + torch.randn(5, CHANNELS)})], PICTURES)

    assert places(found) == [9, 7]
    assert found[0].times > found[1].times > 1.5


def test_a_picture_that_only_another_odd_one_resembles_is_found_after_that_one() -> None:
    like = 12 * torch.ones(1, CHANNELS)
    odd = {7: torch.cat([like + 0.3 * torch.randn(4, CHANNELS), -30 * torch.ones(2, CHANNELS)]), 9: like.repeat(5, 1)}
    drawn = tap(odd)
    at_once = cross_fitted([drawn], torch.zeros(PICTURES, dtype=torch.bool))

    assert at_once[9] < 2 * at_once.median()
    assert sorted(places(suspects([drawn], PICTURES))) == [7, 9]


def test_a_picture_is_compared_with_others_only() -> None:
    drawn = tap({7: 12 + torch.randn(5, CHANNELS)})
    scores = cross_fitted([drawn], torch.zeros(PICTURES, dtype=torch.bool))
    of_others = drawn.selected[drawn.selected // EACH != 7]
    stored = drawn.memory.squares(drawn.rows[7 * EACH : 8 * EACH])[:, drawn.selected // EACH != 7]
    expected = stored.amin(dim=1).clamp(min=0).sqrt().topk(3).values.mean()

    assert len(of_others) < len(drawn.selected)
    assert torch.isclose(scores[7], expected)


def test_scores_add_over_taps() -> None:
    one, other = tap(seed=1), tap(seed=2)
    none = torch.zeros(PICTURES, dtype=torch.bool)

    assert torch.allclose(
        cross_fitted([one, other], none), cross_fitted([one], none) + cross_fitted([other], none), rtol=1e-5
    )


def test_many_pictures_of_another_kind_are_not_called_suspicious_in_a_chain() -> None:
    odd = {place: 12 + torch.randn(EACH, CHANNELS) for place in range(15)}

    assert len(suspects([tap(odd)], PICTURES)) <= MOST * PICTURES


def test_pictures_without_a_drawn_patch_are_not_suspicious() -> None:
    drawn = tap({7: 12 + torch.randn(5, CHANNELS)})

    assert places(suspects([drawn], PICTURES + 3)) == [7]
