"""Addresses, names of nodes and errors of OPC UA servers, without a server."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.sources.opcua import (
    Access,
    NodeName,
    Server,
    Trouble,
    parse_address,
    parse_node,
    require_security,
    resolve,
    why,
)

asyncua = pytest.importorskip("asyncua", reason="asyncua is not installed")


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("opc.tcp://localhost/a/b", Server("localhost", 4840, "/a/b")),
        ("opc.tcp://plc-3:48010", Server("plc-3", 48010, "")),
        ("OPC.TCP://[::1]:77/", Server("::1", 77, "/")),
    ],
)
def test_an_address_names_the_host_the_port_and_the_path(text: str, server: Server) -> None:
    assert parse_address(text) == server
    assert parse_address(server.url) == server


@pytest.mark.parametrize(
    "text", ["opc.tcp://andon:CANARY@h/t", "opc.tcp://", "opc.tcp:///t", "opc.tcp://h:99999", "opc.tcp://h:0", "opcua",
             "opc.tcp://h/a b"]
)  # fmt: skip
def test_another_address_is_refused_without_showing_a_password(text: str) -> None:
    # complaint 25: passwords in messages
    with pytest.raises(ConfigError, match=r"expected opc.tcp://HOST") as refused:
        parse_address(text)
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("i=2258", NodeName("", "i", "2258")),
        ("nsu=http://plant/line;s=Line.Voltage", NodeName("http://plant/line", "s", "Line.Voltage")),
        ('nsu=http://www.siemens.com/simatic-s7-opcua;s="Line"."Voltage"',
         NodeName("http://www.siemens.com/simatic-s7-opcua", "s", '"Line"."Voltage"')),
        ("nsu=urn:a%3Bb;s=x;y=z", NodeName("urn:a;b", "s", "x;y=z")),
        ("nsu=urn:a;g=09087e75-8e5e-499b-954f-f2a9603db28a", NodeName("urn:a", "g", "09087e75-8e5e-499b-954f-f2a9603db28a")),
        ("nsu=urn:a;b=M/RbKBsRVkePCePcx24oRA==", NodeName("urn:a", "b", "M/RbKBsRVkePCePcx24oRA==")),
    ],
)  # fmt: skip
def test_a_name_of_a_node_has_the_uri_of_its_namespace(text: str, name: NodeName) -> None:
    assert parse_node(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ns=2;s=Voltage",
            "expected the URI of the namespace, .* got 'ns=2;s=Voltage'. Numbers of namespaces can change",
        ),
        ("Voltage", "expected the name of a node, for example nsu="),
        ("nsu=urn:a;", "expected the name of a node"),
        ("nsu=urn:a;i=x", "expected a number from 0 to 4294967295 after i="),
        ("nsu=urn:a;i=4294967296", "expected a number from 0 to 4294967295 after i="),
        ("nsu=urn:a;g=1", "expected a GUID after g="),
        ("nsu=urn:a;b=?", "expected bytes in base64 after b="),
    ],
)
def test_another_name_of_a_node_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_node(text)


@given(st.permutations(["urn:plant", "urn:a", "urn:b"]))
def test_a_name_is_found_by_its_uri_wherever_the_namespace_is(others: list[str]) -> None:
    # complaint 18: numbers of namespaces change
    namespaces = ["http://opcfoundation.org/UA/", *others]

    found = resolve(parse_node("nsu=urn:plant;s=Voltage"), namespaces)
    assert (namespaces[found.NamespaceIndex], found.Identifier) == ("urn:plant", "Voltage")
    assert resolve(parse_node("i=2258"), namespaces).NamespaceIndex == 0


def test_a_namespace_that_the_server_does_not_have_is_reported_with_those_it_has() -> None:
    with pytest.raises(Trouble, match=r"has no namespace urn:plnat. It has: urn:plant$"):
        resolve(parse_node("nsu=urn:plnat;s=V"), ["http://opcfoundation.org/UA/", "urn:plant"])


def test_encryption_is_needed_beyond_this_machine_only() -> None:
    require_security(parse_address("opc.tcp://127.0.0.1"), Access())
    require_security(parse_address("opc.tcp://10.0.0.5"), Access(insecure=True))
    with pytest.raises(ConfigError, match="or set insecure = true"):
        require_security(parse_address("opc.tcp://10.0.0.5"), Access())


def test_reasons_name_the_cause_and_never_quote_the_server() -> None:
    ua = asyncua.ua

    assert why(ua.UaStatusCodeError(ua.StatusCodes.BadUserAccessDenied), 2.0) == (
        "refuses the user or the password (BadUserAccessDenied)"
    )
    assert why(ua.UaStatusCodeError(ua.StatusCodes.BadTcpInternalError), 2.0) == (
        "answers with an error (BadTcpInternalError)"
    )
    assert why(TimeoutError(), 2.0) == "does not answer within 2 s"
    assert why(ConnectionError("canary"), 2.0) == "the connection is lost"
    assert why(socket.gaierror(-2, "Name or service not known"), 2.0) == (
        "the name of the host cannot be looked up: Name or service not known"
    )
    assert why(ValueError("canary"), 2.0) == "failed with ValueError"
