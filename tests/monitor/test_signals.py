"""Signals: the first one asks, and what was there before comes back."""

import os
import signal
import threading

import pytest

from andon.monitor.signals import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_event_and_ends_nothing(number: signal.Signals) -> None:
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), number)

        assert stop.wait(2.0)


def test_after_the_first_signal_the_next_one_is_the_systems_own() -> None:
    with stop_on_signals(threading.Event()):
        os.kill(os.getpid(), signal.SIGTERM)

        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_handlers_are_put_back_also_after_an_error() -> None:
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))

    with pytest.raises(KeyError), stop_on_signals(threading.Event()):
        raise KeyError

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
