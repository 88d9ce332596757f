"""Checks that all outputs must pass. Each check is a function that takes an `OutputSpecimen`: an output and its receiver.

The tests of andon run them on all outputs of this package. Other packages can run them on their own outputs::

    @pytest.fixture
    def specimen(receiver): return OutputSpecimen(OUTPUT, Settings(...), got=receiver.got, hang=receiver.hang, ...)

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

Each check needs a new specimen with a new receiver. A failed check raises an AssertionError that states what was expected.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from andon.foundation.errors import AndonError
from andon.foundation.settings import fields
from andon.monitor.event import Event, Rejected, encode
from andon.monitor.output import (
    Connected,
    Connection,
    Delivered,
    Gone,
    Message,
    Output,
    OutputContext,
    OutputKind,
    Refused,
    Reply,
)
from andon.monitor.records import Record
from andon.sources.clock import SystemClock

SOON_S = 1.0
"""Longest time for `open`, `connect`, `send` and `close`. They do not wait, and `close` ends within 0.5 s. The rest is for a
busy machine."""
QUIET_S = 0.3
"""Time for which a receiver that hangs must not appear to have confirmed a message."""


class Got(NamedTuple):
    """One message as the receiver got it."""

    key: str
    """Idempotency key, from the place next to the event: a header or a property."""
    payload: bytes


class OutputSpecimen:
    """An output with settings for a receiver that works.

    Args:
        kind: the record of the output.
        settings: its settings.
        got: returns all messages that the receiver has got, in the order of their arrival.
        hang: makes the receiver silent for good: it accepts connections and answers nothing.
        away: makes the receiver refuse connections, and ends those it has.
        back: makes the receiver work again, after `away`.
        refused: a message whose content the receiver always refuses. None if it takes any content.
        missing_secret: settings with a secret that does not exist. None if the output has no secrets.
        secrets: the secrets of `settings`, and texts that the receiver sends. No reply may contain one of them.
    """

    def __init__(
        self,
        kind: OutputKind,
        settings: Any,
        *,
        got: Callable[[], Sequence[Got]],
        hang: Callable[[], None],
        away: Callable[[], None],
        back: Callable[[], None],
        refused: Message | None = None,
        missing_secret: Any = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.settings = settings
        self.got = got
        self.hang = hang
        self.away = away
        self.back = back
        self.refused = refused
        self.missing_secret = missing_secret
        self.secrets = secrets

    def open(self) -> Output:
        """Open the output as the monitor does."""
        return self.kind.open(self.settings, OutputContext(name="contract", clock=SystemClock()))


def messages(count: int = 5) -> list[Message]:
    """Return the messages of events with texts that names of files and errors can have."""
    made = []
    for seq in range(1, count + 1):
        verdict = Record(
            seq=seq, at="", item=f"lot/{seq} é ✓\n\x1b[2J.png", time_s=None, status="REJECT", reason="", score=2.0, level=1.5,
            p_value=0.0, threshold=1.0, model="m",
        )  # fmt: skip
        event = Event(
            key=f"{seq:032x}", seq=seq, run="r", boot="b", line="press-3", mono_ns=seq, wall_us=seq,
            body=Rejected(verdict=verdict),
        )  # fmt: skip
        made.append(Message(seq, event.key, encode(event), event.line, event.kind))
    return made


def its_settings_are_described(specimen: OutputSpecimen) -> None:
    """Check that each setting has a description, and that the settings survive JSON. TOML keys come from them."""
    for setting in fields(specimen.kind.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(specimen.settings), specimen.kind.settings)
    assert again == specimen.settings, "settings must survive JSON"


def it_opens_without_its_receiver(specimen: OutputSpecimen) -> None:
    """Check that `open` needs no network: the monitor starts while a receiver is away."""
    specimen.away()
    began_s = time.monotonic()
    specimen.open()
    _soon(began_s, "open")


def a_missing_secret_is_an_error_of_andon(specimen: OutputSpecimen) -> None:
    """Check that `open` raises an `AndonError` for a secret that does not exist, so that ``andon check`` reports it."""
    if specimen.missing_secret is None:
        return
    try:
        specimen.kind.open(specimen.missing_secret, OutputContext(name="contract", clock=SystemClock()))
    except AndonError:
        return
    raise AssertionError("open: expected an AndonError for a secret that does not exist, got an opened output")


def it_delivers_messages_in_order_with_their_keys(specimen: OutputSpecimen) -> None:
    """Check that the receiver gets each message once, in order, unchanged and with its key, and that each is confirmed."""
    with _Use(specimen) as use:
        use.connected()
        sent = messages()
        for begin in range(0, len(sent), use.window):  # never more than the window in flight
            flight = sent[begin : begin + use.window]
            for message in flight:
                use.send(message)
            for message in flight:
                reply = use.reply_to(message)
                assert isinstance(reply, Delivered), f"reply: expected Delivered for message {message.seq}, got {reply}"
        end_s = time.monotonic() + SOON_S
        while len(specimen.got()) < len(sent) and time.monotonic() < end_s:  # a broker passes them on later
            time.sleep(0.01)
        got = [(one.key, one.payload) for one in specimen.got()]
    expected = [(message.key, message.payload) for message in sent]
    assert got == expected, f"receiver: expected {len(expected)} messages in order with their keys, got {got}"


def it_confirms_nothing_that_the_receiver_has_not_confirmed(specimen: OutputSpecimen) -> None:
    """Check that no message counts as delivered while the receiver is silent, and that no method waits for it."""
    with _Use(specimen) as use:
        use.connected()
        specimen.hang()
        (message,) = messages(1)
        use.send(message)
        time.sleep(QUIET_S)
        confirmed = [reply for reply in use.heard if isinstance(reply, Delivered | Refused)]
    assert not confirmed, f"reply: expected none while the receiver is silent, got {confirmed[0]}"


def it_closes_while_it_connects_to_a_receiver_that_hangs(specimen: OutputSpecimen) -> None:
    """Check that `connect` does not wait for the receiver, and that `close` ends a connection that is not open yet."""
    specimen.hang()
    with _Use(specimen) as use:
        confirmed = [reply for reply in use.heard if isinstance(reply, Delivered | Refused)]
    assert not confirmed, f"reply: expected none before a message was sent, got {confirmed[0]}"


def a_receiver_that_is_away_is_reported_and_its_return_is_used(specimen: OutputSpecimen) -> None:
    """Check that a receiver that is away gives `Gone` and no exception, and that a new connection works after its return."""
    output = specimen.open()
    specimen.away()
    (message,) = messages(1)
    with _Use(specimen, output) as use:
        if use.opens():  # some protocols connect with the first message
            use.send(message)
        reply = use.first(Gone | Delivered | Refused)
        assert isinstance(reply, Gone), f"reply: expected Gone while the receiver is away, got {reply}"
    specimen.back()
    with _Use(specimen, output) as use:
        use.connected()
        use.send(message)
        reply = use.reply_to(message)
        assert isinstance(reply, Delivered), f"reply: expected Delivered after the return of the receiver, got {reply}"


def a_refused_message_does_not_stop_the_next_one(specimen: OutputSpecimen) -> None:
    """Check that content which the receiver refuses is `Refused`, and that the next message is delivered."""
    if specimen.refused is None:
        return
    with _Use(specimen) as use:
        use.connected()
        use.send(specimen.refused)
        reply = use.reply_to(specimen.refused)
        assert isinstance(reply, Refused), f"reply: expected Refused for refused content, got {reply}"
        message = next(one for one in messages(2) if one.seq != specimen.refused.seq)
        use.send(message)
        reply = use.reply_to(message)
        assert isinstance(reply, Delivered), f"reply: expected Delivered after a refused message, got {reply}"


def it_leaves_no_thread_behind(specimen: OutputSpecimen) -> None:
    """Check that the threads of a connection end with it, after work and from a receiver that hangs."""
    for hangs in (False, True):
        if hangs:
            specimen.hang()
        before = set(threading.enumerate())  # not their number: one of them may end meanwhile
        with _Use(specimen) as use:
            if not hangs:
                use.connected()
        end_s = time.monotonic() + SOON_S
        while set(threading.enumerate()) - before and time.monotonic() < end_s:
            time.sleep(0.01)
        left = set(threading.enumerate()) - before
        assert not left, f"threads: expected none of the connection after close, got {len(left)}"


CHECKS: tuple[Callable[[OutputSpecimen], None], ...] = (
    its_settings_are_described,
    it_opens_without_its_receiver,
    a_missing_secret_is_an_error_of_andon,
    it_delivers_messages_in_order_with_their_keys,
    it_confirms_nothing_that_the_receiver_has_not_confirmed,
    it_closes_while_it_connects_to_a_receiver_that_hangs,
    a_receiver_that_is_away_is_reported_and_its_return_is_used,
    a_refused_message_does_not_stop_the_next_one,
    it_leaves_no_thread_behind,
)
"""All checks of the contract."""


class _Use:
    """One connection of an output. At its end it is closed in time, and no reply had a secret."""

    def __init__(self, specimen: OutputSpecimen, output: Output | None = None) -> None:
        self._specimen = specimen
        self._output = output or specimen.open()
        self._changed = threading.Condition()
        self._heard: list[Reply] = []
        began_s = time.monotonic()
        self._connection: Connection = self._output.connect(self._hear)
        _soon(began_s, "connect")

    def __enter__(self) -> "_Use":
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        began_s = time.monotonic()
        self._connection.close()
        if failure is not None:
            return
        _soon(began_s, "close")
        while self._connection.hung and time.monotonic() - began_s < SOON_S:
            time.sleep(0.01)
        assert not self._connection.hung, f"hung: expected no running thread {SOON_S:g} s after close, got one"
        reasons = [reply.reason for reply in self.heard if isinstance(reply, Gone | Refused)]
        leaks = [secret for secret in self._specimen.secrets if any(secret in reason for reason in reasons)]
        assert not leaks, "reason: expected no secret and no text of the receiver, got one. Use why(error)."

    @property
    def heard(self) -> list[Reply]:
        with self._changed:
            return list(self._heard)

    @property
    def window(self) -> int:
        return next(reply.window for reply in self.heard if isinstance(reply, Connected))

    def send(self, message: Message) -> None:
        began_s = time.monotonic()
        self._connection.send(message)
        _soon(began_s, "send")

    def connected(self) -> None:
        reply = self.first(Connected | Gone)
        assert isinstance(reply, Connected), f"reply: expected Connected from a receiver that works, got {reply}"
        assert reply.window >= 1, f"window: expected at least 1, got {reply.window}"

    def opens(self) -> bool:
        return isinstance(self.first(Connected | Gone), Connected)

    def first(self, kinds: Any) -> Reply:
        return self._wait(lambda reply: isinstance(reply, kinds))

    def reply_to(self, message: Message) -> Reply:
        return self._wait(
            lambda reply: (
                isinstance(reply, Gone) or (isinstance(reply, Delivered | Refused) and reply.seq == message.seq)
            )
        )

    def _wait(self, wanted: Callable[[Reply], bool]) -> Reply:
        longest_s = self._output.answer_s + SOON_S
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self._heard)), longest_s)
            found = next(filter(wanted, self._heard), None)
            assert found is not None, f"reply: expected one within {longest_s:g} s, got {self._heard or 'none'}"
            return found

    def _hear(self, reply: Reply) -> None:
        with self._changed:
            self._heard.append(reply)
            self._changed.notify_all()


def _soon(began_s: float, what: str) -> None:
    took_s = time.monotonic() - began_s
    assert took_s <= SOON_S, f"{what}: expected at most {SOON_S:g} s, took {took_s:.1f} s"
