"""The contract of outputs itself: a sound output keeps each check, and an output with a fault breaks the check for it."""

import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct, ValidationError
from tests.monitor.receivers import CANARY

from andon.foundation.errors import ConfigError
from andon.monitor import output_contract as contract
from andon.monitor.output import Connected, Delivered, Gone, Message, OutputContext, OutputKind, Refused, Reply
from andon.monitor.output_contract import Got, OutputSpecimen, messages

Fault = Literal[
    "none", "opens the network", "slow open", "takes any secret", "wrong key", "changes", "twice", "reorders",
    "never connects", "no window", "confirms early", "slow connect", "slow send", "slow close", "hung", "thread",
    "raises", "silent", "confirms away", "stays away", "gone for poison", "delivers poison", "stops after poison", "secret",
]  # fmt: skip
POISON = messages(2)[1]


class Settings(Struct, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="the receiver")] = "known"


class Receiver:
    """A receiver in memory that works, hangs or is away."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.hangs = self.is_away = False

    def hang(self) -> None:
        self.hangs = True

    def away(self) -> None:
        self.is_away = True

    def back(self) -> None:
        self.is_away = False


class Memory:
    """An output that calls its receiver, with one fault."""

    answer_s = 0.1

    def __init__(self, receiver: Receiver, fault: Fault) -> None:
        self.receiver, self.fault = receiver, fault
        self.was_away = False

    def connect(self, hear: Callable[[Reply], None]) -> "MemoryConnection":
        away = self.receiver.is_away
        if self.fault == "slow connect" and self.receiver.hangs:
            time.sleep(0.4)
        if self.fault == "raises" and away:
            raise ConnectionRefusedError(111, "Connection refused")
        self.was_away = self.was_away or away
        if away and self.fault == "confirms away":
            hear(Connected(window=5, checked=False))
            hear(Delivered(1))
        elif (away and self.fault != "silent") or (self.was_away and self.fault == "stays away"):
            hear(Gone(CANARY if self.fault == "secret" else "Connection refused"))
        elif not away and not self.receiver.hangs and self.fault != "never connects":
            hear(Connected(window=0 if self.fault == "no window" else 5))
        return MemoryConnection(self, hear)


class MemoryConnection:
    def __init__(self, output: Memory, hear: Callable[[Reply], None]) -> None:
        self._output, self._hear = output, hear
        self._late: list[Message] = []
        self._over = threading.Event()
        if output.fault == "thread":
            threading.Thread(target=self._over.wait, args=(1.0,), daemon=True).start()

    def send(self, message: Message) -> None:
        receiver, fault = self._output.receiver, self._output.fault
        if fault == "slow send" and receiver.hangs:
            time.sleep(0.4)
        if receiver.hangs:
            if fault == "confirms early":
                self._hear(Delivered(message.seq))
            return
        if message.key == POISON.key and message.payload == b"poison":
            self._poison(message)
        elif fault == "stops after poison" and self._late:
            self._hear(Gone("after poison"))
        elif fault == "reorders" and message.seq == 1:
            self._late.append(message)
            self._hear(Delivered(1))
        else:
            for one in [message, *self._late]:
                self._put(one)
            self._late.clear()
            self._hear(Delivered(message.seq))

    def close(self) -> None:
        if self._output.fault == "slow close" and self._output.receiver.hangs:
            time.sleep(0.4)

    @property
    def hung(self) -> bool:
        return self._output.fault == "hung"

    def _put(self, message: Message) -> None:
        receiver, fault = self._output.receiver, self._output.fault
        payload = message.payload.replace(b"\xc3\xa9", b"?") if fault == "changes" else message.payload
        receiver.got += [Got("" if fault == "wrong key" else message.key, payload)] * (2 if fault == "twice" else 1)

    def _poison(self, message: Message) -> None:
        match self._output.fault:
            case "gone for poison":
                self._hear(Gone("HTTP 400"))
            case "delivers poison":
                self._hear(Delivered(message.seq))
            case "stops after poison":
                self._late.append(message)
                self._hear(Refused(message.seq, "HTTP 400"))
            case fault:
                self._hear(Refused(message.seq, CANARY if fault == "secret" else "HTTP 400"))


def specimen(fault: Fault) -> OutputSpecimen:
    receiver = Receiver()

    def open_output(settings: Settings, _context: OutputContext) -> Memory:
        if settings.host == "unknown" and fault != "takes any secret":
            raise ConfigError("the environment variable X: expected a secret, found no such variable.")
        if receiver.is_away and fault == "slow open":
            time.sleep(0.4)
        if receiver.is_away and fault == "opens the network":
            raise ConnectionRefusedError(111, "Connection refused")
        return Memory(receiver, fault)

    return OutputSpecimen(
        OutputKind(name="memory", summary="", settings=Settings, open=open_output),
        Settings(),
        got=lambda: receiver.got,
        hang=receiver.hang,
        away=receiver.away,
        back=receiver.back,
        refused=Message(POISON.seq, POISON.key, b"poison", POISON.line, POISON.kind),
        missing_secret=Settings(host="unknown"),
        secrets=(CANARY,),
    )


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in contract.CHECKS])
def test_a_sound_output_keeps_the_contract(check: Callable[[OutputSpecimen], None]) -> None:
    check(specimen("none"))


FAULTS: list[tuple[Fault, Callable[[OutputSpecimen], None]]] = [
    ("slow open", contract.it_opens_without_its_receiver),
    ("opens the network", contract.it_opens_without_its_receiver),
    ("takes any secret", contract.a_missing_secret_is_an_error_of_andon),
    ("never connects", contract.it_delivers_messages_in_order_with_their_keys),
    ("no window", contract.it_delivers_messages_in_order_with_their_keys),
    ("wrong key", contract.it_delivers_messages_in_order_with_their_keys),
    ("changes", contract.it_delivers_messages_in_order_with_their_keys),
    ("twice", contract.it_delivers_messages_in_order_with_their_keys),
    ("reorders", contract.it_delivers_messages_in_order_with_their_keys),
    ("hung", contract.it_delivers_messages_in_order_with_their_keys),
    ("confirms early", contract.it_confirms_nothing_that_the_receiver_has_not_confirmed),
    ("slow send", contract.it_confirms_nothing_that_the_receiver_has_not_confirmed),
    ("slow connect", contract.it_closes_while_it_connects_to_a_receiver_that_hangs),
    ("slow close", contract.it_closes_while_it_connects_to_a_receiver_that_hangs),
    ("raises", contract.a_receiver_that_is_away_is_reported_and_its_return_is_used),
    ("silent", contract.a_receiver_that_is_away_is_reported_and_its_return_is_used),
    ("confirms away", contract.a_receiver_that_is_away_is_reported_and_its_return_is_used),
    ("stays away", contract.a_receiver_that_is_away_is_reported_and_its_return_is_used),
    ("secret", contract.a_receiver_that_is_away_is_reported_and_its_return_is_used),
    ("gone for poison", contract.a_refused_message_does_not_stop_the_next_one),
    ("delivers poison", contract.a_refused_message_does_not_stop_the_next_one),
    ("stops after poison", contract.a_refused_message_does_not_stop_the_next_one),
    ("secret", contract.a_refused_message_does_not_stop_the_next_one),
    ("thread", contract.it_leaves_no_thread_behind),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS)
def test_a_faulty_output_breaks_the_contract(
    fault: Fault, check: Callable[[OutputSpecimen], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "SOON_S", 0.2)
    monkeypatch.setattr(contract, "QUIET_S", 0.02)

    with pytest.raises((AssertionError, ConnectionRefusedError)):
        check(specimen(fault))


def test_every_check_has_a_fault_that_breaks_it() -> None:
    assert {check for _, check in FAULTS} == set(contract.CHECKS) - {contract.its_settings_are_described}


def test_settings_that_do_not_survive_json_break_the_contract() -> None:
    class Odd(Struct, frozen=True, kw_only=True):
        host: Annotated[str, Meta(min_length=3, description="the receiver")] = "x"

    def never(*_: Any) -> Any:
        raise AssertionError

    kind = OutputKind(name="odd", summary="", settings=Odd, open=never)
    odd = OutputSpecimen(kind, Odd(), got=list, hang=never, away=never, back=never)

    with pytest.raises(ValidationError, match="length >= 3"):
        contract.its_settings_are_described(odd)
