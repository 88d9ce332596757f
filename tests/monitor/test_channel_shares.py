"""The channel to look at is the one that is farthest above its usual level."""

import numpy as np
import pytest

from andon.demo.example_line import MODEL, example
from andon.monitor.channel_shares import ChannelShares
from andon.runtime.detector import Detector
from andon.runtime.schema import Card, Status, WindowSpec
from andon.runtime.verdict import Verdict


@pytest.fixture(scope="module")
def card() -> Card:
    return Detector.from_bytes(example(MODEL)).card


def names(card: Card) -> list[str]:
    assert isinstance(card.input, WindowSpec)
    return [channel.name for channel in card.input.channels]


def verdict(card: Card, status: Status, **scores: float) -> Verdict:
    values = np.array([scores.get(f"c{place}", 1.0) for place in range(len(names(card)))], np.float32)
    return Verdict(status=status, score=1.0, threshold=1.0, evidence={"channel_scores": values})


def test_before_the_first_ok_window_the_highest_score_names_the_channel(card: Card) -> None:
    assert ChannelShares(card).channel(verdict(card, Status.REJECT, c1=5.0)) == names(card)[1]


def test_a_channel_that_is_always_high_is_not_named_again_and_again(card: Card) -> None:
    shares = ChannelShares(card)
    for _ in range(20):
        assert shares.channel(verdict(card, Status.OK, c0=100.0)) == ""

    assert shares.channel(verdict(card, Status.REJECT, c0=101.0, c1=5.0)) == names(card)[1]


def test_invalid_windows_frames_and_files_without_channel_scores_have_none(card: Card) -> None:
    shares = ChannelShares(card)

    assert shares.channel(verdict(card, Status.INVALID, c1=5.0)) == ""
    assert shares.channel(Verdict(status=Status.REJECT)) == ""
    assert ChannelShares(None).channel(verdict(card, Status.REJECT, c1=5.0)) == ""
    odd = Verdict(status=Status.REJECT, evidence={"channel_scores": np.array([np.nan, 1.0], np.float32)})
    assert shares.channel(odd) == ""
