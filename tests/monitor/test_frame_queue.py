"""From reader to judge: order holds, every item is accounted for, and only what may be displaced is."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.frame_queue import LOST_KEPT, FrameQueue, Taken, WhenFull
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason

FRAME = np.zeros((1, 1, 1), np.uint8)


def item(key: object = "i") -> Item:
    return Item(Ref(key=str(key)), FRAME)


def lost(key: object = "l") -> Lost:
    return Lost(Ref(key=str(key)), Reason.UNREADABLE)


@given(st.lists(st.sampled_from(["item", "lost", "take", "ask"]), max_size=200))
def test_where_the_newest_wins_what_was_given_is_taken_displaced_or_left(steps: list[str]) -> None:
    queue = FrameQueue(capacity=4, when_full="displace")
    taken, displaced, given_count = 0, 0, 0
    for step in steps:
        if step == "take":
            taken += queue.take(0.0) is not None
        elif step == "ask":
            displaced += queue.displaced()
        else:
            queue.give(item() if step == "item" else lost())
            given_count += 1
    end = queue.finish()

    assert end.given == given_count
    assert end.given == taken + displaced + end.displaced + end.left


@given(st.lists(st.sampled_from(["item", "lost", "take"]), max_size=200))
def test_numbers_only_rise_and_no_more_than_one_frame_ever_waits_for_a_live_source(steps: list[str]) -> None:
    queue = FrameQueue(capacity=4, when_full="displace")
    last = 0
    for step in steps:
        if step != "take":
            queue.give(item() if step == "item" else lost())
        elif (taken := queue.take(0.0)) is not None:
            assert taken.seq > last
            last = taken.seq

        assert queue.waiting <= 1 + LOST_KEPT


def test_a_newer_frame_displaces_the_older_one_but_never_a_message_that_something_was_lost() -> None:
    queue = FrameQueue(capacity=4, when_full="displace")
    for given_item in (lost("a"), item("b"), lost("c"), item("d")):
        queue.give(given_item)

    left = [queue.take(0.0) for _ in range(3)]

    assert [(taken.seq, taken.item.ref.key) for taken in left if taken is not None] == [(1, "a"), (3, "c"), (4, "d")]
    assert queue.displaced() == 1


def test_a_full_queue_holds_the_giver_up_until_something_is_taken() -> None:
    queue = FrameQueue(capacity=2, when_full="wait")
    done = threading.Event()

    def give_three() -> None:
        for number in range(3):
            queue.give(item(number))
        done.set()

    thread = threading.Thread(target=give_three, daemon=True)
    thread.start()
    assert not done.wait(0.1)

    assert queue.take(1.0) is not None
    assert done.wait(5.0)


def test_closing_frees_a_giver_that_is_held_up_and_accounts_for_its_item() -> None:
    queue = FrameQueue(capacity=1, when_full="wait")
    queue.give(item())
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(queue.give(item())), daemon=True)
    thread.start()

    queue.close()
    thread.join(5.0)

    assert answers == [False]
    assert queue.finish() == (2, 0, 0, 2)


@pytest.mark.parametrize("when_full", ["wait", "displace", "refuse"])
def test_after_the_account_is_closed_nothing_that_comes_late_is_counted(when_full: WhenFull) -> None:
    queue = FrameQueue(capacity=1, when_full=when_full)
    queue.give(item())
    queue.finish()

    assert not queue.give(item())
    assert queue.finish().given == 1


def test_two_threads_lose_nothing_and_keep_the_order() -> None:
    queue = FrameQueue(capacity=4, when_full="wait")

    def give_all() -> None:
        for number in range(2000):
            queue.give(item(number))
        queue.end()

    threading.Thread(target=give_all, daemon=True).start()
    taken: list[Taken] = []
    while not queue.exhausted():
        one = queue.take(1.0)
        if one is not None:
            taken.append(one)

    assert [one.seq for one in taken] == list(range(1, 2001))
    assert [one.item.ref.key for one in taken] == [str(number) for number in range(2000)]


def test_a_full_queue_that_refuses_makes_the_new_item_invalid_at_once_and_keeps_the_older_ones() -> None:
    queue = FrameQueue(capacity=2, when_full="refuse")
    for number in range(4):
        queue.give(Item(Ref(key=str(number)), FRAME))

    taken = [queue.take(0.0) for _ in range(4)]

    assert [one.seq for one in taken if one is not None] == [1, 2, 3, 4]
    assert [isinstance(one.item, Lost) for one in taken if one is not None] == [False, False, True, True]
    assert taken[3] is not None
    assert isinstance(taken[3].item, Lost)
    assert "overrun: 2 items wait" in taken[3].item.detail
    assert queue.displaced() == 0


@given(st.integers(1, 5), st.lists(st.sampled_from(["item", "lost"]), max_size=40))
def test_of_every_n_items_the_first_is_accepted_and_the_others_are_counted(n: int, kinds: list[str]) -> None:
    queue = FrameQueue(capacity=100, when_full="wait", every_nth=n)
    for number, kind in enumerate(kinds):
        queue.give(item(number) if kind == "item" else lost(number))

    taken = []
    while (one := queue.take(0.0)) is not None:
        taken.append(one)

    items = [str(number) for number, kind in enumerate(kinds) if kind == "item"]
    assert [one.item.ref.key for one in taken if isinstance(one.item, Item)] == items[::n]
    assert sum(isinstance(one.item, Lost) for one in taken) == kinds.count("lost")
    assert [one.seq for one in taken] == [int(one.item.ref.key) + 1 for one in taken]
    assert queue.skipped() == len(items) - len(items[::n])


# Complaint 8: items that vanish or are counted twice.
def test_drops_in_the_final_counts_are_not_returned_again() -> None:
    queue = FrameQueue(capacity=1, when_full="displace", every_nth=2)
    for number in range(6):  # three are skipped, and two of the others displaced
        queue.give(item(number))

    end = queue.finish()

    assert (end.given, end.displaced, end.skipped, end.left) == (6, 2, 3, 1)
    assert (queue.displaced(), queue.skipped()) == (0, 0)
