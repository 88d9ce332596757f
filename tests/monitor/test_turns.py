"""Cores are shared fairly between lines that judge at the same time."""

import threading
import time

import pytest

from andon.monitor.turns import Turns, cores


def test_no_more_threads_are_in_at_once_than_there_are_slots() -> None:
    turns, inside, most, lock = Turns(2), 0, [0], threading.Lock()

    def work() -> None:
        nonlocal inside
        for _ in range(20):
            with turns:
                with lock:
                    inside += 1
                    most[0] = max(most[0], inside)
                time.sleep(0.0005)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [2]
    assert inside == 0


# Complaint 7: one source must not starve another. A greedy line gets no more turns than a line that also always has work.
def test_threads_that_always_have_work_get_the_same_number_of_turns() -> None:
    turns, counts, stop = Turns(1), [0, 0, 0], threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            with turns:
                counts[number] += 1
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    stop.set()
    for thread in threads:
        thread.join()

    assert max(counts) - min(counts) <= max(3, 0.1 * max(counts)), counts


def test_an_error_inside_gives_the_slot_back() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns:
        raise ZeroDivisionError

    with turns:
        pass


def test_at_least_one_slot_and_one_core() -> None:
    assert cores() >= 1
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        Turns(0)
