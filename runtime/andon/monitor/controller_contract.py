"""Checks that all controllers must pass. Each check is a function that takes a `ControllerSpecimen`: a controller and its peer.

The tests of andon run them on all controllers of this package. Other packages can run them on their own controllers::

    @pytest.fixture
    def specimen(plc): return ControllerSpecimen(CONTROLLER, Settings(...), shown=plc.shown, hang=plc.hang, away=plc.away, ...)

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

Each check needs a new specimen with a new peer. A failed check raises an AssertionError that states what was expected.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import structs

from andon.foundation.errors import AndonError
from andon.foundation.settings import fields
from andon.monitor.controller_kind import Controller, ControllerContext, ControllerFailed, ControllerKind
from andon.monitor.process_image import ProcessImage, ResultCode
from andon.sources.clock import SystemClock

SOON_S = 1.0
"""Longest time for `open`, and the time that other calls may need in addition to `ControllerSpecimen.timeout_s`. This is for a
busy machine."""

T = TypeVar("T")


class Shown(NamedTuple):
    """The facts that a program in the controller reads about one line."""

    ready: bool
    result: ResultCode
    number: int
    """Number of the result."""
    heartbeat: int
    """Any value that changes with each heartbeat."""


class ControllerSpecimen:
    """A controller with settings for a peer that works.

    Args:
        kind: the record of the controller.
        settings: its settings.
        shown: reads a line as a program in the controller does: first the number, then all else. None if it was never written.
        hang: makes the peer silent: it accepts connections, and answers nothing.
        away: makes the peer refuse connections, and ends those it has.
        back: makes the peer work again, after `hang` or `away`.
        timeout_s: longest time of one call of the controller with these settings.
        lines: names of two lines that it shows.
        refuse: makes the peer refuse each write from now on. None if it takes all writes.
        acknowledge: makes the program in the controller acknowledge a result of a line. None if the settings have no handshake.
        missing_secret: settings with a secret that does not exist. None if the controller has no secrets.
        secrets: the secrets of `settings`, and texts that the peer sends. No failure may contain one of them.
    """

    def __init__(
        self,
        kind: ControllerKind,
        settings: Any,
        *,
        shown: Callable[[str], Shown | None],
        hang: Callable[[], None],
        away: Callable[[], None],
        back: Callable[[], None],
        timeout_s: float,
        lines: tuple[str, str] = ("press-3", "press-4"),
        refuse: Callable[[], None] | None = None,
        acknowledge: Callable[[str, int], None] | None = None,
        missing_secret: Any = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.settings = settings
        self.shown = shown
        self.hang = hang
        self.away = away
        self.back = back
        self.timeout_s = timeout_s
        self.lines = lines
        self.refuse = refuse
        self.acknowledge = acknowledge
        self.missing_secret = missing_secret
        self.secrets = secrets

    def open(self) -> Controller:
        """Open the controller as the monitor does."""
        return self.kind.open(self.settings, self.context())

    def context(self) -> ControllerContext:
        """Return the facts about the monitor for which the controller is opened."""
        return ControllerContext(name="contract", lines=self.lines, clock=SystemClock())


def image(line: str, number: int, *, heartbeat: int | None = None, **changes: Any) -> ProcessImage:
    """Return the image of a line after a number of results. The results take turns. See `result_of`."""
    result = result_of(number)
    facts: dict[str, Any] = {
        "line": line,
        "ready": number % 2 == 1,
        "state": "running",
        "heartbeat": number if heartbeat is None else heartbeat,
        "result": result,
        "number": number,
        "part": f"lot/{number} é ✓",
        "score": None if result is ResultCode.INVALID else 0.5 + number,
        "threshold": 1.5,
        "reason": "black" if result is ResultCode.INVALID else "",
        "judged_wall_s": 1.8e9 + number,
        "model": "0a1b2c3d4e5f",
        "ok": number,
    }
    return ProcessImage(**(facts | changes))


def result_of(number: int) -> ResultCode:
    """Return the result that `image` has for a number."""
    return ResultCode(1 + (number - 1) % 4) if number else ResultCode.NONE


def its_settings_are_described(specimen: ControllerSpecimen) -> None:
    """Check that each setting has a description, and that the settings survive JSON. TOML keys come from them."""
    for setting in fields(specimen.kind.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(specimen.settings), specimen.kind.settings)
    assert again == specimen.settings, "settings must survive JSON"


def it_opens_and_closes_without_the_network(specimen: ControllerSpecimen) -> None:
    """Check that `open` waits for no peer, and that `close` works before the first connection, and twice."""
    specimen.hang()
    began_s = time.monotonic()
    controller = specimen.open()
    took_s = time.monotonic() - began_s
    assert took_s <= SOON_S, f"open: expected at most {SOON_S:g} s, took {took_s:.1f} s"
    _close(specimen, controller)
    _close(specimen, controller)
    specimen.back()
    shown = specimen.shown(specimen.lines[0])
    assert shown is None or shown.number == 0, f"open: expected no write, the controller shows {shown}"


def a_missing_secret_is_an_error_of_andon(specimen: ControllerSpecimen) -> None:
    """Check that `open` raises an `AndonError` for a secret that does not exist, so that ``andon check`` reports it."""
    if specimen.missing_secret is None:
        return
    try:
        specimen.kind.open(specimen.missing_secret, specimen.context())
    except AndonError:
        return
    raise AssertionError("open: expected an AndonError for a secret that does not exist, got an opened controller")


def a_write_is_shown_when_it_returns_and_changes_the_heartbeat(specimen: ControllerSpecimen) -> None:
    """Check that the controller shows state, result and number of each write at its end, and another heartbeat."""
    controller = _connected(specimen)
    line, heartbeats = specimen.lines[0], []
    _succeed(specimen, lambda: controller.write(ProcessImage(line=line, heartbeat=1)))
    _expect(specimen, line, ready=False, result=ResultCode.NONE, number=0)
    for number in range(1, 9):
        written = image(line, number, heartbeat=number + 1)
        _succeed(specimen, partial(controller.write, written))
        shown = _expect(specimen, line, ready=written.ready, result=written.result, number=number)
        heartbeats.append(shown.heartbeat)
    again = image(line, 8, heartbeat=10)
    _succeed(specimen, lambda: controller.write(again))
    heartbeats.append(_expect(specimen, line, ready=again.ready, result=again.result, number=8).heartbeat)
    same = [one for at, one in enumerate(heartbeats) if at and heartbeats[at - 1] == one]
    assert not same, f"heartbeat: expected another value after each write, got {heartbeats}"
    _close(specimen, controller)


def lines_do_not_mix(specimen: ControllerSpecimen) -> None:
    """Check that each line has a place of its own."""
    controller = _connected(specimen)
    one, other = specimen.lines
    first, second = image(one, 5), image(other, 2)
    _succeed(specimen, lambda: controller.write(first))
    _succeed(specimen, lambda: controller.write(second))
    _expect(specimen, one, ready=first.ready, result=first.result, number=5)
    _expect(specimen, other, ready=second.ready, result=second.result, number=2)
    _close(specimen, controller)


def a_new_number_is_never_seen_with_an_old_result(specimen: ControllerSpecimen) -> None:
    """Check that the number is written last: a program that sees a new number reads the result that belongs to it."""
    controller = _connected(specimen)
    line = specimen.lines[0]
    for number in range(1, 41):
        done = threading.Event()
        seen: list[Shown] = []

        def watch(number: int = number, done: threading.Event = done, seen: list[Shown] = seen) -> None:
            while not (seen and seen[-1].number == number):
                last = done.is_set()
                shown = specimen.shown(line)
                if shown is not None:
                    seen.append(shown)
                if last:
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        written = image(line, number)
        try:
            _succeed(specimen, partial(controller.write, written))
        finally:
            done.set()
            watcher.join(specimen.timeout_s + SOON_S)
        new = [shown for shown in seen if shown.number == number]
        assert new, f"number: expected {number} after the write, got {seen[-1:]}"
        wrong = [shown.result.name for shown in new if shown.result is not result_of(number)]
        assert not wrong, (
            f"result of number {number}: expected {result_of(number).name}, got {wrong[0]}. Write the number last."
        )
    _close(specimen, controller)


def a_controller_that_is_away_is_a_failure_and_works_again_later(specimen: ControllerSpecimen) -> None:
    """Check that `connect` and `write` raise `ControllerFailed` in time, and that a new connection works later."""
    controller = _connected(specimen)
    line = specimen.lines[0]
    _succeed(specimen, lambda: controller.write(image(line, 1)))
    specimen.away()
    _fail(specimen, lambda: controller.write(image(line, 2)), "write")
    _close(specimen, controller)
    for _ in range(2):
        _fail(specimen, controller.connect, "connect")
        _close(specimen, controller)
    specimen.back()
    _works_again(specimen, controller, 3)


def a_controller_that_hangs_is_given_up_in_time_and_works_again_later(specimen: ControllerSpecimen) -> None:
    """Check that `write` raises `ControllerFailed` within its time-out, and that a late answer is not taken for a later one."""
    controller = _connected(specimen)
    line = specimen.lines[0]
    _succeed(specimen, lambda: controller.write(image(line, 1)))
    specimen.hang()
    _fail(specimen, lambda: controller.write(image(line, 2)), "write")
    _close(specimen, controller)
    specimen.back()
    _works_again(specimen, controller, 3)


def a_refused_write_is_a_failure(specimen: ControllerSpecimen) -> None:
    """Check that a write that the peer refuses raises `ControllerFailed`, and does not count as written."""
    if specimen.refuse is None:
        return
    controller = _connected(specimen)
    line = specimen.lines[0]
    _succeed(specimen, lambda: controller.write(image(line, 1)))
    specimen.refuse()
    _fail(specimen, lambda: controller.write(image(line, 2)), "write")
    _close(specimen, controller)


def an_acknowledgement_is_the_number_of_the_result(specimen: ControllerSpecimen) -> None:
    """Check that `acknowledged` returns the number that the program in the controller took, or always None without handshake."""
    controller = _connected(specimen)
    for line in specimen.lines:
        for number in (1, 2):
            written = image(line, number)
            _succeed(specimen, partial(controller.write, written))
            before = _succeed(specimen, partial(controller.acknowledged, line))
            if specimen.acknowledge is None:
                assert before is None, f"acknowledged: expected None without a handshake, got {before}"
                continue
            assert before not in (number, None), f"acknowledged: expected an older number than {number}, got {before}"
            specimen.acknowledge(line, number)
            after = _succeed(specimen, partial(controller.acknowledged, line))
            assert after == number, f"acknowledged: expected {number}, got {after}"
    _close(specimen, controller)


def a_long_run_does_not_end_it(specimen: ControllerSpecimen) -> None:
    """Check that numbers that do not fit the registers of a controller begin again, and raise nothing."""
    controller = _connected(specimen)
    line = specimen.lines[0]
    for number in (2**15, 2**16, 2**31, 2**32, 2**33 + 1):
        changes = dict.fromkeys(("ok", "review", "reject", "invalid", "alarms"), number)
        written = structs.replace(image(line, number), **changes)
        _succeed(specimen, partial(controller.write, written))
        shown = specimen.shown(line)
        assert shown is not None
        assert shown.result is result_of(number), f"result: expected {result_of(number).name}, got {shown.result.name}"
    _close(specimen, controller)


def any_text_and_any_number_can_be_written(specimen: ControllerSpecimen) -> None:
    """Check that names of parts of any length and in any writing, and missing or very large scores, raise nothing."""
    controller = _connected(specimen)
    line = specimen.lines[0]
    texts = ("", "x" * 200, "日本語の部品", "\U0001f527" * 50, "a/b c&d<e>", "é" * 199)
    for number, text in enumerate(texts, 1):
        written = image(
            line, number, part=text, score=(None, 0.0, -1e300, 1e300, 1e-300, 2.5)[number - 1], threshold=None
        )
        _succeed(specimen, partial(controller.write, written))
        _expect(specimen, line, ready=written.ready, result=written.result, number=number)
    _close(specimen, controller)


CHECKS: tuple[Callable[[ControllerSpecimen], None], ...] = (
    its_settings_are_described,
    it_opens_and_closes_without_the_network,
    a_missing_secret_is_an_error_of_andon,
    a_write_is_shown_when_it_returns_and_changes_the_heartbeat,
    lines_do_not_mix,
    a_new_number_is_never_seen_with_an_old_result,
    a_controller_that_is_away_is_a_failure_and_works_again_later,
    a_controller_that_hangs_is_given_up_in_time_and_works_again_later,
    a_refused_write_is_a_failure,
    an_acknowledgement_is_the_number_of_the_result,
    a_long_run_does_not_end_it,
    any_text_and_any_number_can_be_written,
)
"""All checks of the contract."""


def _connected(specimen: ControllerSpecimen) -> Controller:
    controller = specimen.open()
    _succeed(specimen, controller.connect)
    return controller


def _works_again(specimen: ControllerSpecimen, controller: Controller, number: int) -> None:
    line = specimen.lines[0]
    _succeed(specimen, controller.connect)
    for written in (image(line, number), image(line, number + 1)):
        _succeed(specimen, partial(controller.write, written))
        _expect(specimen, line, ready=written.ready, result=written.result, number=written.number)
    _close(specimen, controller)


def _in_time(specimen: ControllerSpecimen, call: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Call a function in a thread, because it may hang. Return its value or its exception."""
    values: list[T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            values.append(call())
        except Exception as error:  # noqa: BLE001 - the caller looks at the type
            failures.append(error)

    longest_s = specimen.timeout_s + SOON_S
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(longest_s)
    assert not thread.is_alive(), f"expected an end within {longest_s:g} s, got none. Give the call a time-out."
    return (values[0] if values else None), (failures[0] if failures else None)


def _succeed(specimen: ControllerSpecimen, call: Callable[[], T]) -> T | None:
    value, failure = _in_time(specimen, call)
    assert failure is None, f"expected success with a peer that works, got {failure!r}"
    return value


def _fail(specimen: ControllerSpecimen, call: Callable[[], object], what: str) -> None:
    _, failure = _in_time(specimen, call)
    assert isinstance(failure, ControllerFailed), (
        f"{what}: expected ControllerFailed without a confirmation, got {failure!r}"
    )
    leaks = [secret for secret in specimen.secrets if secret in str(failure)]
    assert not leaks, "ControllerFailed: expected no secret and no text of the peer, got one. Use why(error)."
    assert str(failure).strip(), "ControllerFailed: expected a text for a person, got an empty one"


def _expect(specimen: ControllerSpecimen, line: str, *, ready: bool, result: ResultCode, number: int) -> Shown:
    shown = specimen.shown(line)
    found = None if shown is None else (shown.ready, shown.result.name, shown.number)
    expected = (ready, result.name, number)
    assert found == expected, f"{line}: expected (ready, result, number) = {expected}, the controller shows {found}"
    assert shown is not None
    return shown


def _close(specimen: ControllerSpecimen, controller: Controller) -> None:
    _, failure = _in_time(specimen, controller.close)
    assert failure is None, f"close: expected no exception, got {failure!r}"
