"""Checks that all triggers must pass. Each check is a function that takes a `TriggerSpecimen`: triggers and their sender.

The tests of andon run them on all triggers of this package. Other packages can run them on their own triggers::

    @pytest.fixture
    def specimen(barrier): return TriggerSpecimen(TRIGGER, Settings(...), send=barrier.send, hang=barrier.hang, ...)

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

Each check needs a new specimen with a new sender. A failed check raises an AssertionError that states what was expected.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from andon.foundation.errors import AndonError
from andon.foundation.settings import fields
from andon.monitor.trigger_kind import Trigger, TriggerContext, TriggerKind
from andon.sources.clock import SystemClock

SOON_S = 1.0
"""Longest time for `open`, which waits for no other machine."""
END_S = 3.0
"""Longest time for `follow` after the stop event. It ends within 2 s. The rest is for a busy machine."""
CONNECT_S = 20.0
"""Longest time until a sender that works is connected, and until a trigger arrives."""
QUIET_S = 0.3
"""Time for which no trigger may appear that was not sent."""


class TriggerSpecimen:
    """Triggers with settings for a sender that works.

    Args:
        kind: the record of the triggers.
        settings: their settings.
        send: sends one trigger with this number, from 1. It returns when the trigger is on its way.
        hang: makes the sender, or the broker or controller between, silent for good. It accepts connections and sends nothing.
        away: makes it refuse connections, and ends those it has.
        back: makes it work again, after `away`.
        longest_s: longest time until `follow` reports a sender that hangs, in seconds.
        numbered: True if a trigger has the number with which it was sent.
        refused: sends something that is not a trigger. None if the sender cannot.
        missing_secret: settings with a secret that does not exist. None if the triggers have no secrets.
        secrets: the secrets of `settings`, and texts that the sender writes. No reason may contain one of them.
    """

    def __init__(
        self,
        kind: TriggerKind,
        settings: Any,
        *,
        send: Callable[[int], None],
        hang: Callable[[], None],
        away: Callable[[], None],
        back: Callable[[], None],
        longest_s: float = 15.0,
        numbered: bool = True,
        refused: Callable[[], None] | None = None,
        missing_secret: Any = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.settings = settings
        self.send = send
        self.hang = hang
        self.away = away
        self.back = back
        self.longest_s = longest_s
        self.numbered = numbered
        self.refused = refused
        self.missing_secret = missing_secret
        self.secrets = secrets


def its_settings_are_described(specimen: TriggerSpecimen) -> None:
    """Check that each setting has a description, and that the settings survive JSON. TOML keys come from them."""
    for setting in fields(specimen.kind.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(specimen.settings), specimen.kind.settings)
    assert again == specimen.settings, "settings must survive JSON"


def it_opens_without_its_sender(specimen: TriggerSpecimen) -> None:
    """Check that `open` needs no network: the monitor starts while the controller is away."""
    specimen.away()
    began_s = time.monotonic()
    specimen.kind.open(specimen.settings, _context(threading.Event()))
    took_s = time.monotonic() - began_s
    assert took_s <= SOON_S, f"open: expected at most {SOON_S:g} s, took {took_s:.1f} s"


def a_missing_secret_is_an_error_of_andon(specimen: TriggerSpecimen) -> None:
    """Check that `open` raises an `AndonError` for a secret that does not exist, so that ``andon check`` reports it."""
    if specimen.missing_secret is None:
        return
    try:
        specimen.kind.open(specimen.missing_secret, _context(threading.Event()))
    except AndonError:
        return
    raise AssertionError("open: expected an AndonError for a secret that does not exist, got opened triggers")


def each_trigger_is_given_once_and_in_order(specimen: TriggerSpecimen) -> None:
    """Check that a connection is reported with an empty text, and that each trigger is given once, in order."""
    with _Use(specimen) as use:
        use.connected()
        for number in range(1, 6):
            specimen.send(number)
            use.wait(lambda number=number: len(use.given) >= number, f"trigger {number}")  # type: ignore[misc]
        time.sleep(QUIET_S)
        given = use.given
    assert len(given) == 5, f"triggers: expected 5, one for each that was sent, got {len(given)}"
    if specimen.numbered:
        numbers = [trigger.number for trigger in given]
        assert numbers == [1, 2, 3, 4, 5], f"numbers: expected 1 to 5 as they were sent, got {numbers}"


def it_ends_in_time_while_its_sender_is_away(specimen: TriggerSpecimen) -> None:
    """Check that a sender that is away is reported, without an exception, and that the stop event ends the triggers."""
    specimen.away()
    with _Use(specimen) as use:
        use.wait(lambda: any(use.heard), "a reason why triggers cannot arrive")
        assert "" not in use.heard, "hear: expected no empty text while the sender is away, got one"


def it_ends_in_time_while_its_sender_hangs(specimen: TriggerSpecimen) -> None:
    """Check that the stop event ends the triggers while they wait for a sender that is silent."""
    specimen.hang()
    with _Use(specimen):
        time.sleep(QUIET_S)


def a_sender_that_goes_away_is_reported_and_its_return_is_used(specimen: TriggerSpecimen) -> None:
    """Check that a lost connection is reported and opened again, and that triggers arrive again afterwards."""
    with _Use(specimen) as use:
        use.connected()
        specimen.send(1)
        use.wait(lambda: len(use.given) == 1, "the first trigger")
        specimen.away()
        use.wait(lambda: bool(use.failing), "a reason why triggers cannot arrive")
        specimen.back()
        use.wait(lambda: not use.failing, "an empty text after the return of the sender")
        specimen.send(2)
        use.wait(lambda: len(use.given) >= 2, "a trigger after the return of the sender")
        time.sleep(QUIET_S)
        given = use.given
    assert len(given) == 2, f"triggers: expected one before and one after the interruption, got {len(given)}"


def a_sender_that_hangs_is_reported(specimen: TriggerSpecimen) -> None:
    """Check that a sender that hangs after the connection is reported in time, and that no trigger is made up."""
    with _Use(specimen) as use:
        use.connected()
        specimen.hang()
        use.wait(lambda: bool(use.failing), "a reason why triggers cannot arrive", specimen.longest_s)
        given = use.given
    assert not given, f"triggers: expected none, because none was sent, got {given[0]}"


def content_that_is_not_a_trigger_is_refused_and_the_next_trigger_is_given(specimen: TriggerSpecimen) -> None:
    """Check that wrong content goes to `TriggerContext.refuse`, gives no trigger, and does not stop the next trigger."""
    if specimen.refused is None:
        return
    with _Use(specimen) as use:
        use.connected()
        specimen.refused()
        use.wait(lambda: bool(use.refused), "a call of refuse for content that is not a trigger")
        specimen.send(1)
        use.wait(lambda: bool(use.given), "the trigger after wrong content")
        time.sleep(QUIET_S)
        given = use.given
    assert len(given) == 1, f"triggers: expected one, because one was sent, got {len(given)}"


def it_leaves_no_thread_behind(specimen: TriggerSpecimen) -> None:
    """Check that the threads of the triggers end with them."""
    before = set(threading.enumerate())  # not their number: one of them may end meanwhile
    with _Use(specimen) as use:
        use.connected()
    end_s = time.monotonic() + SOON_S
    while set(threading.enumerate()) - before and time.monotonic() < end_s:
        time.sleep(0.01)
    left = set(threading.enumerate()) - before
    assert not left, f"threads: expected none of the triggers after their end, got {len(left)}"


CHECKS: tuple[Callable[[TriggerSpecimen], None], ...] = (
    its_settings_are_described,
    it_opens_without_its_sender,
    a_missing_secret_is_an_error_of_andon,
    each_trigger_is_given_once_and_in_order,
    it_ends_in_time_while_its_sender_is_away,
    it_ends_in_time_while_its_sender_hangs,
    a_sender_that_goes_away_is_reported_and_its_return_is_used,
    a_sender_that_hangs_is_reported,
    content_that_is_not_a_trigger_is_refused_and_the_next_trigger_is_given,
    it_leaves_no_thread_behind,
)
"""All checks of the contract."""


def _context(stop: threading.Event, refuse: Callable[[str], None] = lambda _reason: None) -> TriggerContext:
    return TriggerContext(line="contract", clock=SystemClock(), stop=stop, refuse=refuse)


class _Use:
    """Opened triggers that are followed in a thread. At the end they stop in time, and no reason had a secret."""

    def __init__(self, specimen: TriggerSpecimen) -> None:
        self._specimen = specimen
        self._changed = threading.Condition()
        self._given: list[Trigger] = []
        self._heard: list[str] = []
        self._refused: list[str] = []
        self._failures: list[BaseException] = []
        self._stop = threading.Event()
        opened = specimen.kind.open(specimen.settings, _context(self._stop, self._take(self._refused)))

        def follow() -> None:
            try:
                opened.follow(self._take(self._given), self._take(self._heard))
            except BaseException as error:  # noqa: BLE001 - reported by the thread of the check
                self._failures.append(error)

        self._thread = threading.Thread(target=follow, daemon=True)
        self._thread.start()

    def __enter__(self) -> "_Use":
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._stop.set()
        began_s = time.monotonic()
        self._thread.join(END_S)
        if failure is not None:
            return
        assert not self._thread.is_alive(), f"follow: expected an end within {END_S:g} s of the stop event, got none"
        assert not self._failures, f"follow: expected no exception, got {type(self._failures[0]).__name__}"
        assert time.monotonic() - began_s <= END_S
        reasons = [*self.heard, *self.refused]
        leaks = [secret for secret in self._specimen.secrets if any(secret in reason for reason in reasons)]
        assert not leaks, "hear, refuse: expected no secret and no text of the sender, got one. Use why(error)."

    @property
    def given(self) -> list[Trigger]:
        with self._changed:
            return list(self._given)

    @property
    def heard(self) -> list[str]:
        with self._changed:
            return list(self._heard)

    @property
    def refused(self) -> list[str]:
        with self._changed:
            return list(self._refused)

    @property
    def failing(self) -> str:
        return (self.heard or ["no connection yet"])[-1]

    def connected(self) -> None:
        self.wait(lambda: not self.failing, "an empty text when triggers can arrive")

    def wait(self, true: Callable[[], bool], what: str, longest_s: float | None = None) -> None:
        longest_s = CONNECT_S if longest_s is None else longest_s
        end_s = time.monotonic() + longest_s
        while not true():
            assert not self._failures, f"follow: expected no exception, got {type(self._failures[0]).__name__}"
            assert self._thread.is_alive(), "follow: expected an end after the stop event only, got an earlier one"
            assert time.monotonic() < end_s, f"expected {what} within {longest_s:g} s, got none. Heard: {self.heard}"
            time.sleep(0.01)

    def _take(self, place: list[Any]) -> Callable[[Any], None]:
        def take(value: Any) -> None:
            with self._changed:
                place.append(value)

        return take
