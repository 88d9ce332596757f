"""Results and states are written into nodes of an OPC UA server. The server is asyncua's, in a child process on loopback."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.monitor.receivers import free_port
from tests.opcua_server import NAMESPACE, OpcUaServer, running

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table
from andon.monitor.controller_kind import ControllerContext, ControllerFailed
from andon.monitor.controllers.opcua import CONTROLLER, OpcUaController, Settings
from andon.monitor.process_image import ProcessImage, ResultCode
from andon.sources.clock import SystemClock

pytest.importorskip("asyncua", reason="asyncua is not installed")

VALUES: dict[str, tuple[Any, str]] = {
    "State": ("", "String"),
    "Ready": (False, "Boolean"),
    "Heartbeat": (0, "UInt16"),
    "LastResult": (0, "Int16"),
    "PartId": ("", "String"),
    "Score": (0.0, "Float"),
    "Reason": ("", "String"),
    "ModelDigest": ("", "String"),
    "Total": (0, "UInt32"),
    "OK": (0, "UInt32"),
    "Review": (0, "UInt32"),
    "NOK": (0, "UInt32"),
    "Invalid": (0, "Int64"),
    "ResultNumber": (0, "UInt16"),
}
FOLDER = f"nsu={NAMESPACE};s={{line}}"
OK_IMAGE = ProcessImage(
    line="press", ready=True, state="running", heartbeat=7, result=ResultCode.OK, number=12, part="A-17", score=0.25,
    model="abc", ok=10, review=1, reject=2, invalid=3,
)  # fmt: skip
INVALID_IMAGE = ProcessImage(
    line="press", ready=True, state="running", heartbeat=8, result=ResultCode.INVALID, number=13, part="A-18",
    reason="stale", ok=10, review=1, reject=2, invalid=4,
)  # fmt: skip


def plant(**options: Any) -> contextlib.AbstractContextManager[OpcUaServer]:
    types = {f"press.{name}": kind for name, (_, kind) in VALUES.items()} | options.pop("types", {})
    variables = {f"press.{name}": value for name, (value, _) in VALUES.items()} | options.pop("variables", {})
    return running(free_port(), variables, folder="press", types=types, **options)


@pytest.fixture(scope="module")
def shared() -> Iterator[OpcUaServer]:
    with plant(
        other_namespaces=2,
        variables={"press.Alarms": 5, "press.Threshold": "x"},
        types={"press.Threshold": "String"},
        read_only=["press.Alarms"],
    ) as server:
        yield server


def controller(server: OpcUaServer, **settings: Any) -> OpcUaController:
    given = {"address": server.url, "folder": FOLDER, "timeout_s": 2.0, **settings}
    opened = CONTROLLER.open(
        from_table(Settings, given, at="controller[0]"),
        ControllerContext(name="plant", lines=("press",), clock=SystemClock()),
    )
    assert isinstance(opened, OpcUaController)
    return opened


@contextlib.contextmanager
def connected(server: OpcUaServer, **settings: Any) -> Iterator[OpcUaController]:
    opened = controller(server, **settings)
    try:
        opened.connect()
        yield opened
    finally:
        opened.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("andon controller")]


def refusal(server: OpcUaServer, **settings: Any) -> str:
    with pytest.raises(ControllerFailed) as failed, connected(server, **settings):
        pass
    return str(failed.value)


def test_a_result_is_written_with_the_types_of_the_nodes_and_its_number_is_the_last(shared: OpcUaServer) -> None:
    with connected(shared) as opened:
        shared.do("writes")
        opened.write(OK_IMAGE)
        written = shared.do("writes")
        opened.write(OK_IMAGE)
        again = shared.do("writes")
        assert opened.acknowledged("press") is None

    assert {name.removeprefix("press."): value for name, value, _ in written} == {
        "State": "running", "Ready": True, "Heartbeat": 7, "LastResult": 1, "PartId": "A-17", "Score": 0.25, "Reason": "",
        "ModelDigest": "abc", "Total": 16, "OK": 10, "Review": 1, "NOK": 2, "Invalid": 3, "ResultNumber": 12,
    }  # fmt: skip
    assert {status for _, _, status in written} == {"Good"}
    assert written[-1][0] == again[-1][0] == "press.ResultNumber"


def test_an_invalid_result_has_a_bad_status_and_no_number_that_looks_like_a_score(shared: OpcUaServer) -> None:
    # notes 11: an INVALID verdict is written with Bad or Uncertain status, not with a magic number
    with connected(shared) as opened:
        opened.write(OK_IMAGE)
        opened.write(INVALID_IMAGE)

        assert shared.do("read", "press.LastResult")[1] == "Bad"
        assert shared.do("read", "press.Score")[1] == "BadNoData"
        assert shared.do("read", "press.ResultNumber") == [13, "Good"]
        assert shared.do("read", "press.Reason") == ["stale", "Good"]
        opened.write(OK_IMAGE)
        assert shared.do("read", "press.LastResult") == [1, "Good"]


def test_a_good_value_is_sent_without_a_status_code_and_without_times(shared: OpcUaServer) -> None:
    # many PLCs refuse a write that has them, even if the status is good
    from asyncua.ua.ua_binary import struct_to_binary

    with connected(shared) as opened:
        nodes = opened._lines["press"]
        good, bad = (struct_to_binary(opened._value("LastResult", nodes["LastResult"], image))
                     for image in (OK_IMAGE, INVALID_IMAGE))  # fmt: skip

    assert (good[0], bad[0]) == (0b01, 0b11)  # bits of the standard: value, status, source time, server time


def test_nodes_can_be_given_by_a_pattern_and_only_some_values(shared: OpcUaServer) -> None:
    with connected(
        shared, folder=None, nodes=f"nsu={NAMESPACE};s={{line}}.{{value}}", values=["ResultNumber", "Ready"]
    ) as opened:
        shared.do("writes")
        opened.write(OK_IMAGE)

        assert shared.do("writes") == [["press.Ready", True, "Good"], ["press.ResultNumber", 12, "Good"]]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        pytest.param(  # complaint 18
            {"folder": "nsu=http://elsewhere;s={line}"}, "has no namespace http://elsewhere. It has: ", id="namespace"
        ),
        pytest.param(
            {"folder": f"nsu={NAMESPACE};s=none"},
            f"has no folder nsu={NAMESPACE};s=none (BadNodeIdUnknown). Create it, or correct folder",
            id="folder",
        ),
        pytest.param(
            {"values": ["Ready", "ResultTime"]},
            f"has no ResultTime below nsu={NAMESPACE};s=press. Create these variables, or list the others in values",
            id="absent value",
        ),
        pytest.param(
            {"folder": None, "nodes": f"nsu={NAMESPACE};s=no.{{value}}"},
            f"has no variable nsu={NAMESPACE};s=no.State (BadNodeIdUnknown)",
            id="unknown node",
        ),
        pytest.param(
            {"values": ["Threshold"]},
            f"has a wrong data type for nsu={NAMESPACE};s=press, Threshold: expected Float, Double, got String",
            id="wrong type",
        ),
        pytest.param(
            {"values": ["Alarms"]},
            f"does not allow this user to write nsu={NAMESPACE};s=press, Alarms. Grant the right",
            id="read only",
        ),
    ],
)
def test_what_does_not_fit_is_found_when_it_connects(shared: OpcUaServer, settings: dict[str, Any], text: str) -> None:
    # issue 23: wrong type, namespace, refused write
    assert text in refusal(shared, **settings)


def test_a_node_that_vanishes_later_refuses_the_result_and_its_number(shared: OpcUaServer) -> None:
    # issue 23: no wrong value. A server takes some values of a request and refuses others
    with connected(shared) as opened:
        opened.write(OK_IMAGE)
        shared.do("delete", "press.Score")
        shared.do("writes")
        with pytest.raises(ControllerFailed, match=r"nsu=.*;s=press, Score \(Bad"):
            opened.write(INVALID_IMAGE)
        names = [name for name, _, _ in shared.do("writes")]
        shared.do("add", "press.Score", 0.0)
        opened.close()
        opened.connect()  # complaint 18: nodes are looked up again
        opened.write(INVALID_IMAGE)

    assert "press.ResultNumber" not in names
    assert shared.do("read", "press.ResultNumber") == [13, "Good"]


def test_a_server_that_is_not_there_fails_soon() -> None:
    began_s = time.monotonic()
    text = refusal(OpcUaServer(free_port(), {}))

    assert "opc.tcp://127.0.0.1/plant: cannot be reached: " in text
    assert time.monotonic() - began_s < 2.0


def test_a_controller_without_a_connection_refuses_a_write() -> None:
    opened = controller(OpcUaServer(free_port(), {}))
    with pytest.raises(ControllerFailed, match="not connected"):
        opened.write(OK_IMAGE)
    opened.close()


@pytest.mark.slow
def test_a_server_that_refuses_status_codes_is_reported_with_the_setting_that_helps() -> None:
    with plant(refuse_status=True) as server:
        with connected(server) as opened:
            opened.write(OK_IMAGE)
            server.do("writes")
            with pytest.raises(
                ControllerFailed, match=r"does not take a status code for .*LastResult .* Set status_codes = false"
            ):
                opened.write(INVALID_IMAGE)
            assert "press.ResultNumber" not in [name for name, _, _ in server.do("writes")]
        with connected(server, status_codes=False) as opened:
            opened.write(INVALID_IMAGE)

        assert server.do("read", "press.LastResult") == [3, "Good"]
        assert server.do("read", "press.ResultNumber") == [13, "Good"]


@pytest.mark.slow
def test_a_server_that_hangs_fails_within_the_time_out_and_works_after_a_new_connection() -> None:
    # complaint 17: a hung server, and a new client for each connection
    with plant() as server, connected(server, timeout_s=1.0) as opened:
        opened.write(OK_IMAGE)
        server.pause()
        for call, limit_s in ((lambda: opened.write(OK_IMAGE), 1.5), (opened.connect, 4.0), (opened.connect, 4.0)):
            began_s = time.monotonic()
            with pytest.raises(ControllerFailed, match=r"does not answer within|the connection is lost"):
                call()  # type: ignore[no-untyped-call]
            assert time.monotonic() - began_s < limit_s
        began_s = time.monotonic()
        opened.close()
        assert time.monotonic() - began_s < 2.0
        server.go_on()
        opened.connect()
        opened.write(INVALID_IMAGE)

        assert server.do("read", "press.ResultNumber") == [13, "Good"]


@pytest.mark.slow
def test_a_server_that_restarts_with_other_namespace_numbers_gets_the_next_results() -> None:
    # complaint 18
    with plant() as server, connected(server) as opened:
        opened.write(OK_IMAGE)
        server.kill()
        with pytest.raises(ControllerFailed):
            opened.write(INVALID_IMAGE)
        with pytest.raises(ControllerFailed, match="cannot be reached"):
            opened.connect()
        server.start(other_namespaces=4)
        opened.connect()
        opened.write(INVALID_IMAGE)

        assert server.do("read", "press.ResultNumber") == [13, "Good"]


@pytest.mark.slow
def test_wrong_credentials_fail_without_showing_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    # complaint 25
    monkeypatch.setenv("PLANT", "canary-7f3a")
    with plant(password="right") as server:
        text = refusal(server, user="andon", password={"env": "PLANT"})
        assert "refuses the user or the password" in text
        assert "canary" not in text
        monkeypatch.setenv("PLANT", "right")
        with connected(server, user="andon", password={"env": "PLANT"}) as opened:
            opened.write(OK_IMAGE)


@pytest.mark.slow
def test_ten_thousand_writes_arrive_in_order() -> None:
    # issue 23
    with plant() as server, connected(server, values=["LastResult", "ResultNumber"]) as opened:
        for number in range(1, 5_001):
            opened.write(ProcessImage(line="press", ready=True, result=ResultCode(1 + number % 3), number=number))
        written = server.do("writes")

    assert [value for name, value, _ in written if name == "press.ResultNumber"] == list(range(1, 5_001))
    assert [value for name, value, _ in written if name == "press.LastResult"] == [
        1 + number % 3 for number in range(1, 5_001)
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folder": None}, "expected one of them, got both or neither"),
        ({"nodes": "i={value}"}, "expected one of them, got both or neither"),
        ({"folder": None, "nodes": "nsu=urn:a;s={line}"}, r"nodes: expected \{value\} in the name"),
        ({"values": []}, "values: expected at least one name"),
        ({"values": ["Reddy"]}, "values"),
        ({"folder": "ns=2;s={line}"}, "folder: expected the URI of the namespace"),
        ({"address": "opc.tcp://10.0.0.5"}, "expected certificate, private_key and server_certificate"),
        ({"password": {"env": "NO_SUCH_SECRET"}, "user": "andon"}, "NO_SUCH_SECRET"),
        ({"password": {"env": "NO_SUCH_SECRET"}}, "expected a name with a password"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_a_network(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        controller(OpcUaServer(free_port(), {}), **settings)


def test_two_lines_need_the_name_of_the_line_in_the_pattern() -> None:
    context = ControllerContext(name="plant", lines=("a", "b"), clock=SystemClock())
    with pytest.raises(
        ConfigError, match=r"folder: expected \{line\} in the name, because the controller shows 2 lines"
    ):
        CONTROLLER.open(Settings(address="opc.tcp://localhost", folder="i=85"), context)
