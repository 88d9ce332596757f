"""Samples from an OPC UA server become windows. The server is asyncua's, in a child process on loopback."""

import json
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.receivers import free_port
from tests.opcua_server import NAMESPACE, OpcUaServer, running
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.foundation.secret import Secret
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.contract import CHECKS, Specimen
from andon.sources.kinds import opcua
from andon.sources.kinds.opcua import MOST_WAITING, OpcUaStream, Settings, node_names
from andon.sources.series.held_values import Sample

pytest.importorskip("asyncua", reason="asyncua is not installed")

SPEC = WindowSpec(steps=4, hop=4, period_s=0.2, channels=(Channel(name="voltage"), Channel(name="current")))
NODES = f"nsu={NAMESPACE};s=Line.{{channel}}"
VARIABLES = {"Line.voltage": 0.0, "Line.current": 1.5, "Line.name": "press", "Line.list": [1.0, 2.0]}
CANARY = "canary-7f3a+secret"


class Follower:
    """A stream that is read in a thread of its own, with its items."""

    def __init__(self, server: OpcUaServer, spec: WindowSpec, settings: Settings) -> None:
        self.stop = threading.Event()
        self.items: list[Item | Lost] = []
        self.stream = opcua.stream(server.url, spec, settings, SystemClock(), self.stop)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        for item in self.stream:
            self.items.append(item)

    @property
    def windows(self) -> list[Item]:
        return [item for item in self.items if isinstance(item, Item)]

    def lost(self, reason: Reason) -> list[Lost]:
        return [item for item in self.items if isinstance(item, Lost) and item.reason is reason]

    def wait(self, done: Callable[[], bool], limit_s: float = 20.0) -> None:
        until(done, limit_s, lambda: f"{self.items[-3:]}")

    def end(self) -> float:
        began_s = time.monotonic()
        self.stop.set()
        self.thread.join(10.0)
        return time.monotonic() - began_s


def until(done: Callable[[], bool], limit_s: float = 20.0, shown: Callable[[], str] = str) -> None:
    end_s = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end_s, f"after {limit_s} s: {shown()}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def plant() -> Iterator[OpcUaServer]:
    with running(free_port(), VARIABLES, other_namespaces=2) as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[OpcUaServer]:
    """A server that a test may kill."""
    with running(free_port(), VARIABLES) as server:
        yield server


Follow = Callable[..., Follower]


@pytest.fixture
def follow() -> Iterator[Follow]:
    followers = []

    def start(server: OpcUaServer, *, spec: WindowSpec = SPEC, **settings: Any) -> Follower:
        followers.append(Follower(server, spec, Settings(**{"nodes": NODES, "stale_after_s": 30.0, **settings})))
        return followers[-1]

    yield start
    for follower in followers:
        follower.end()


class Changing(threading.Thread):
    """A line whose voltage changes ten times a second until the end."""

    def __init__(self, server: OpcUaServer) -> None:
        super().__init__()
        self._server = server
        self.over = threading.Event()
        self.values = 0

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.values += 1
            self._server.set(Line__voltage=float(self.values))

    def __enter__(self) -> "Changing":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def states(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged states of the connection."""
    return [record.getMessage().split(": ", 1)[1] for record in caplog.records if record.name == opcua.__name__]


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="andon")


def test_changes_and_constant_channels_become_windows_with_source_times(
    plant: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    began_s = time.time()
    follower = follow(plant)
    with Changing(plant):
        follower.wait(lambda: len(follower.windows) >= 2)

    for window in follower.windows:
        assert window.ref.time_s is not None
        assert began_s - 1.0 < window.ref.time_s < time.time()
        assert (window.data[:, 1] == 1.5).all()  # the constant channel
    first = follower.windows[-1].data[:, 0]
    assert (first[1:] > first[:-1]).all()
    assert follower.end() < 2.0
    assert states(caplog) == ["connected"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        pytest.param(  # complaint 18
            {"nodes": "nsu=http://other/line;s=Line.{channel}"},
            "has no namespace http://other/line. It has: ",
            id="unknown namespace",
        ),
        pytest.param(
            {"nodes": f"nsu={NAMESPACE};s=Press.{{channel}}"},
            f"has no node for voltage, nsu={NAMESPACE};s=Press.voltage (BadNodeIdUnknown)",
            id="unknown node",
        ),
        pytest.param(
            {"nodes": {"voltage": f"nsu={NAMESPACE};s=Line.voltage", "current": f"nsu={NAMESPACE};s=Line.name"}},
            f"has another type than a number for current, nsu={NAMESPACE};s=Line.name: String",
            id="a text",
        ),
        pytest.param(
            {"nodes": {"voltage": f"nsu={NAMESPACE};s=Line.voltage", "current": f"nsu={NAMESPACE};s=Line.list"}},
            f"has another type than a number for current, nsu={NAMESPACE};s=Line.list: a list",
            id="a list",
        ),
    ],
)
def test_what_cannot_be_used_is_logged_once_and_stays_invalid_until_the_stop(
    plant: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], text: str
) -> None:
    # complaint 6: stop works from every state; complaint 5: tried for ever, logged once
    follower = follow(plant, stale_after_s=0.2, **settings)
    follower.wait(lambda: len(follower.lost(Reason.STALE)) >= 3)  # several attempts

    assert follower.end() < 2.0
    assert [one.startswith(text) for one in states(caplog)] == [True], caplog.text
    assert not follower.windows
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("andon opc.tcp")]


def test_a_value_of_bad_or_uncertain_quality_is_missing_and_never_a_number(
    plant: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 17 and notes 11: quality by status code
    follower = follow(plant, spec=WindowSpec(steps=2, hop=2, period_s=0.2, channels=SPEC.channels))
    follower.wait(lambda: len(follower.windows) >= 1)
    for quality in ("BadSensorFailure", "UncertainLastUsableValue"):
        plant.do("write", [["Line.current", 99.0, None, quality]])
        follower.items.clear()
        follower.wait(lambda: len(follower.lost(Reason.GAP)) >= 1)
        assert follower.lost(Reason.GAP)[-1].channel == "current"
    plant.set(Line__current=1.5)
    follower.items.clear()
    follower.wait(lambda: len(follower.windows) >= 1)

    assert not any((window.data == 99.0).any() for window in follower.windows)
    assert states(caplog) == [
        "connected",
        "current is missing, its quality is BadSensorFailure",
        "current is missing, its quality is UncertainLastUsableValue",
        "current has good quality again",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_the_contract_of_sources(plant: OpcUaServer, check: Callable[[Specimen], None]) -> None:
    check(Specimen(opcua.SOURCE, plant.url, spec=SPEC, settings=Settings(nodes=NODES), items=2))


@pytest.mark.slow
def test_ten_thousand_changes_arrive_in_order_with_their_times(own_server: OpcUaServer, follow: Follow) -> None:
    # issue 23: 10 000 messages in order; complaint 8: nothing is lost silently
    spec = WindowSpec(steps=100, hop=100, period_s=1.0, channels=SPEC.channels)
    follower = follow(own_server, spec=spec, hold=False, sampling_s=0.05)
    time.sleep(2.0)  # the first values of the subscription are out
    begin_s = 1_000_000.0  # a time of its own, as in a recording
    own_server.do("ramp", ["Line.voltage", "Line.current"], 10_003, begin_s, 1.0, 100)
    follower.wait(lambda: len(follower.windows) == 100, 60.0)

    rows = [row for window in follower.windows for row in window.data.tolist()]
    assert rows == [[float(number), float(number)] for number in range(1, 10_001)]
    assert follower.windows[0].ref.time_s == begin_s + 99
    assert [item for item in follower.items if isinstance(item, Lost) and item.reason is not Reason.STALE] == []


@pytest.mark.slow
def test_a_server_that_restarts_with_other_namespace_numbers_is_used_again(
    own_server: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 17: subscriptions go silent after a restart; complaint 18: namespaces by URI at each connection
    follower = follow(own_server, stale_after_s=0.5)
    follower.wait(lambda: len(follower.windows) >= 1)
    own_server.kill()
    follower.wait(lambda: len(follower.lost(Reason.STALE)) >= 2)
    own_server.start(other_namespaces=3)
    follower.items.clear()
    with Changing(own_server):
        follower.wait(lambda: len(follower.windows) >= 2)

    assert follower.windows[-1].data[-1, 0] > 0.0
    assert states(caplog)[0] == states(caplog)[-1] == "connected"
    assert len(states(caplog)) <= 4, caplog.text


@pytest.mark.slow
def test_a_server_that_hangs_is_stale_soon_and_is_used_again_when_it_goes_on(
    own_server: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 17: a server that accepts requests and never answers
    follower = follow(own_server, stale_after_s=0.5)
    follower.wait(lambda: len(follower.windows) >= 1)
    own_server.pause()
    paused_s = time.monotonic()
    follower.wait(lambda: len(follower.lost(Reason.STALE)) >= 1)
    until(lambda: "does not answer within 2 s" in states(caplog))
    assert time.monotonic() - paused_s < 8.0
    time.sleep(3.0)  # several attempts against a server that accepts and is silent
    windows = len(follower.windows)
    own_server.go_on()
    follower.wait(lambda: len(follower.windows) > windows)

    assert states(caplog)[-1] == "connected"
    own_server.pause()
    assert follower.end() < 2.0
    own_server.go_on()


@pytest.mark.slow
def test_a_server_that_forgets_the_subscription_gets_a_new_one(
    own_server: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 17: the connection answers, but no change is reported any more
    follower = follow(own_server, stale_after_s=0.5)
    follower.wait(lambda: len(follower.windows) >= 1)
    own_server.do("forget")
    own_server.set(Line__voltage=77.0)
    follower.wait(lambda: any((window.data[:, 0] == 77.0).all() for window in follower.windows))

    assert states(caplog) == [
        "connected",
        "does not report changes of voltage. The subscription is made again",
        "connected",
    ]
    between = {value for window in follower.windows for value in window.data[:, 0].tolist()}
    assert all(value <= 77.0 for value in between)


@pytest.mark.slow
def test_a_node_that_vanishes_is_looked_for_until_it_is_back(
    own_server: OpcUaServer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 18: after a download to the PLC, all nodes are unknown until the agent is restarted
    follower = follow(own_server, stale_after_s=0.5)
    follower.wait(lambda: len(follower.windows) >= 1)
    own_server.do("delete", "Line.current")
    until(lambda: any("has no node for current" in state for state in states(caplog)))
    follower.items.clear()
    follower.wait(lambda: len(follower.lost(Reason.STALE)) >= 2)
    own_server.do("add", "Line.current", 2.5)
    follower.wait(lambda: any((window.data[:, 1] == 2.5).all() for window in follower.windows))

    assert states(caplog)[-1] == "connected"


@pytest.mark.slow
def test_wrong_credentials_are_a_state_and_never_shown(
    follow: Follow, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # complaint 25: no password in a log; complaint 6: a wrong key leaves nothing behind
    monkeypatch.setenv("PLANT", CANARY)
    caplog.set_level(logging.DEBUG)
    with running(free_port(), VARIABLES, password="right") as server:
        follower = follow(server, user="andon", password=Secret(env="PLANT"), stale_after_s=0.3)
        follower.wait(lambda: len(follower.lost(Reason.STALE)) >= 4)
        nobody = follow(server, stale_after_s=0.3)
        nobody.wait(lambda: len(nobody.lost(Reason.STALE)) >= 2)
        assert len(states(caplog)) == 2, caplog.text
        assert all(state.startswith("refuses") for state in states(caplog)), caplog.text
        monkeypatch.setenv("PLANT", "right")  # a new password is read at the next attempt
        follower.wait(lambda: len(follower.windows) >= 1)
        assert follower.end() < 2.0
        assert nobody.end() < 2.0

    assert CANARY not in caplog.text


@pytest.mark.slow
def test_an_encrypted_connection_trusts_only_the_given_server(
    tmp_path: Path, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # notes 9: certificates from files
    own, key = certificate(tmp_path, "andon", "urn:andon:test")
    served, served_key = certificate(tmp_path, "server", "urn:freeopcua:python:server")
    other, _ = certificate(tmp_path, "other", "urn:freeopcua:python:server")
    with running(free_port(), VARIABLES, security=[str(served), str(served_key)]) as server:
        files = {"certificate": str(own), "private_key": str(key)}
        follower = follow(server, server_certificate=str(served), **files)
        follower.wait(lambda: len(follower.windows) >= 1)
        assert states(caplog) == ["connected"]
        caplog.clear()
        for settings in ({"server_certificate": str(other), **files}, {}):
            foreign = follow(server, stale_after_s=0.3, **settings)
            foreign.wait(lambda foreign=foreign: len(foreign.lost(Reason.STALE)) >= 2)  # type: ignore[misc]
            assert not foreign.windows
            assert foreign.end() < 2.0
        assert "connected" not in states(caplog)


def certificate(folder: Path, name: str, uri: str) -> tuple[Path, Path]:
    """Make a certificate and its key."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.der", folder / f"{name}-key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.DER))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_a_server_that_is_not_there_is_a_state_and_can_be_stopped(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 6: a pipeline whose first connect failed cannot be stopped
    follower = follow(OpcUaServer(free_port(), {}), stale_after_s=0.2)
    follower.wait(lambda: len(follower.items) >= 3)

    assert {item.reason for item in follower.items if isinstance(item, Lost)} == {Reason.STALE}
    assert follower.end() < 2.0
    assert len(states(caplog)) == 1
    assert states(caplog)[0].startswith("cannot be reached: ")


def test_a_server_that_accepts_and_is_silent_can_be_stopped(follow: Follow) -> None:
    # complaints 2 and 6
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = OpcUaServer(silent.getsockname()[1], {})
        follower = follow(server, stale_after_s=0.2)
        follower.wait(lambda: len(follower.items) >= 2)

        assert follower.end() < 2.0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("andon opc.tcp")]


def test_a_stream_that_was_never_read_can_be_closed() -> None:
    stream = opcua.stream("opc.tcp://localhost/plant", SPEC, Settings(nodes=NODES), FakeClock(), threading.Event())
    stream.close()

    assert not [item for item in stream if isinstance(item, Item)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("andon opc.tcp")]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (None, "nodes: expected the nodes of the channels, got none"),
        (
            "nsu=http://plant;s=Voltage",
            r"nodes: expected \{channel\} in the name, because the model file has 2 channels",
        ),
        ({"voltage": "i=1"}, "nodes: expected a node for each channel of the model file, got none for 'current'"),
        (
            {"voltage": "i=1", "current": "i=2", "curent": "i=3"},
            r"has no channel 'curent' \(did you mean 'current'\?\)",
        ),
        ({"voltage": "i=1", "current": "ns=2;s=Current"}, "nodes.current: expected the URI of the namespace"),
        ({"voltage": "i=1", "current": "Current"}, "nodes.current: expected the name of a node, for example nsu="),
        ('{"voltage": 1}', "nodes: expected a JSON object of texts"),
    ],
)
def test_nodes_that_do_not_fit_the_channels_are_refused(nodes: str | dict[str, str] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        node_names(nodes, ["voltage", "current"])


def test_the_three_forms_of_nodes_have_the_same_meaning() -> None:
    table = {name: f"nsu=http://plant;s=Line.{name}" for name in ("voltage", "current")}

    assert (
        node_names(table, list(table))
        == node_names(json.dumps(table), list(table))
        == node_names("nsu=http://plant;s=Line.{channel}", list(table))
    )


def test_a_model_file_for_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="judges frames"):
        opcua.stream(
            "opc.tcp://localhost",
            FrameSpec(channels=3, size=(8, 8)),
            Settings(nodes=NODES),
            FakeClock(),
            threading.Event(),
        )


def test_plain_text_beyond_this_machine_needs_a_decision() -> None:
    # notes 9
    text, clock = "opc.tcp://10.0.0.5/plant", FakeClock()
    with pytest.raises(ConfigError, match="expected certificate, private_key and server_certificate"):
        opcua.stream(text, SPEC, Settings(nodes=NODES), clock, threading.Event())
    stream = opcua.stream(text, SPEC, Settings(nodes=NODES, insecure=True), clock, threading.Event())

    assert isinstance(stream, OpcUaStream)


def test_a_secret_or_certificate_that_cannot_be_read_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    (tmp_path / "no.pem").write_text("no certificate")
    files = {name: str(tmp_path / "no.pem") for name in ("certificate", "private_key", "server_certificate")}
    for settings, message in (
        ({"user": "andon", "password": Secret(env="NO_SUCH_SECRET")}, "NO_SUCH_SECRET"),
        (files, "certificate: expected a certificate in"),
        ({**files, "certificate": str(tmp_path / "none.der")}, "certificate: .*none.der cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            opcua.stream("opc.tcp://localhost", SPEC, Settings(nodes=NODES, **settings), FakeClock(), threading.Event())


def test_settings_that_belong_together_are_checked() -> None:
    with pytest.raises(ValueError, match="expected a name with a password"):
        Settings(nodes=NODES, password=Secret(env="X"))
    with pytest.raises(ValueError, match="expected all three for encryption, or none of them, got 1"):
        Settings(nodes=NODES, certificate="a.pem")


@pytest.mark.parametrize(("period_s", "text"), [(0.001, "1000 samples of each channel per second"), (0.1, "")])
def test_a_model_file_for_a_high_rate_gives_advice(period_s: float, text: str) -> None:
    # issue 23: 1 kHz data must come in blocks
    spec = WindowSpec(steps=4, hop=4, period_s=period_s, channels=SPEC.channels)
    assert text in opcua.SOURCE.advice(spec)
    assert bool(opcua.SOURCE.advice(spec)) == bool(text)


def test_samples_that_wait_are_bounded_and_the_dropped_ones_are_counted() -> None:
    # complaint 9: bounded queues; complaint 8: nothing is lost silently
    inbox = opcua._Inbox()
    inbox.put([Sample(0, float(number), 0.0) for number in range(MOST_WAITING + 7)])
    inbox.lose("the server dropped changes")
    assert (
        inbox.take_lost() == "the server dropped changes; 7 samples were dropped, because too many waited for the judge"
    )
    assert inbox.take(0.0)[0][0].time_s == 7.0
    assert inbox.take_lost() == ""


def test_lines_are_cut_at_periods_so_that_no_channel_is_far_ahead() -> None:
    samples = [Sample(place, at / 10, float(at)) for place in (0, 1) for at in range(4)] + [Sample(1, 0.35, math.nan)]
    lines = [json.loads(line) for line in opcua._lines(samples, ["a", "b"], 0.2)]

    assert lines == [
        {"t": [0.0, 0.1], "values": {"a": [0.0, 1.0]}},
        {"t": [0.0, 0.1], "values": {"b": [0.0, 1.0]}},
        {"t": [0.2, 0.3], "values": {"a": [2.0, 3.0]}},
        {"t": [0.2, 0.3, 0.35], "values": {"b": [2.0, 3.0, None]}},
    ]
