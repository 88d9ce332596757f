"""Connect to OPC UA servers: addresses, names of nodes, security, and errors as text.

A name of a node has the text form of the standard with the URI of its namespace: ``nsu=http://plant/line;s=Line.Voltage``.
Numbers of namespaces are refused, because a server may change them at each start. They are looked up at each connection.
"""

import asyncio
import base64
import binascii
import logging
import re
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.loopback import is_loopback
from andon.foundation.printable import printable
from andon.foundation.secret import Secret
from andon.sources.addresses import shown_address

if TYPE_CHECKING:
    from asyncua import Client, ua
    from cryptography import x509

logger = logging.getLogger(__name__)

_GOODBYE_S = 0.3
"""Longest wait for the server's answer at the end of a connection."""
SESSION_S = 60.0
"""Time after which the server forgets a session of a client that has gone."""
_MOST_SHOWN = 8
_ADDRESS = re.compile(
    r"opc\.tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\s\[\]]+)(?::(?P<port>\d{1,5}))?(?P<path>/[^\s?#@]*)?", re.IGNORECASE
)
_NODE = re.compile(r"(?:nsu=(?P<uri>[^;]+);)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL)


class Access(Struct, frozen=True, kw_only=True):
    """Settings for connecting to a server."""

    user: Annotated[str | None, Meta(description="user name at the server")] = None
    password: Annotated[Secret | None, Meta(description="password of the user")] = None
    certificate: Annotated[
        str | None, Meta(description="file with the certificate of andon, for encryption", extra={"path": "file"})
    ] = None
    private_key: Annotated[
        str | None, Meta(description="file with the private key of the certificate", extra={"path": "file"})
    ] = None
    server_certificate: Annotated[
        str | None,
        Meta(
            description="file with the certificate of the server. No other server is accepted", extra={"path": "file"}
        ),
    ] = None
    security: Annotated[
        Literal["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"],
        Meta(description="security policy, if certificates are given. Messages are signed and encrypted"),
    ] = "Basic256Sha256"
    insecure: Annotated[
        bool,
        Meta(
            description="allow a connection to another machine without encryption. Everyone on the way can then read and change "
            "it"
        ),
    ] = False
    timeout_s: Annotated[
        float, Meta(gt=0.0, description="longest wait for an answer of the server", extra={"unit": "s"})
    ] = 2.0

    def __post_init__(self) -> None:
        if self.password is not None and self.user is None:
            raise ValueError('user: expected a name with a password, got none. Add for example user = "andon".')
        files = (self.certificate, self.private_key, self.server_certificate)
        if any(files) and not all(files):
            raise ValueError(
                "certificate, private_key, server_certificate: expected all three for encryption, or none of them, got "
                f"{sum(map(bool, files))}."
            )


class Server(Struct, frozen=True):
    """The parts of an address."""

    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The address for the client."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opc.tcp://{host}:{self.port}{self.path}"

    @property
    def shown(self) -> str:
        """The address for messages and keys."""
        return printable(f"opc.tcp://{self.host}{self.path}")


class NodeName(Struct, frozen=True):
    """The name of a node that does not depend on the numbers of namespaces."""

    uri: str
    """URI of the namespace. Empty for the namespace of the standard."""
    kind: str
    """``i``, ``s``, ``g`` or ``b``: the identifier is a number, a text, a GUID or bytes."""
    identifier: str

    @property
    def shown(self) -> str:
        """The name for messages."""
        return printable(
            f"nsu={self.uri};{self.kind}={self.identifier}" if self.uri else f"{self.kind}={self.identifier}"
        )


class Trouble(Exception):
    """The server can be reached, but not used as the settings want it. The text contains no secret."""


def parse_address(text: str) -> Server:
    """Return the parts of ``opc.tcp://HOST[:PORT]/PATH``.

    Raises:
        ConfigError: the text is not such an address, or contains a user name.

    >>> parse_address("opc.tcp://plc-3/plant")
    Server(host='plc-3', port=4840, path='/plant')
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or 4840) if found is not None else 0
    if found is None or not 0 < port <= 65_535:
        raise ConfigError(
            f"{shown_address(text)}: expected opc.tcp://HOST[:PORT]/PATH without a user name, got another address. Give the user "
            "and password as settings."
        )
    return Server(found["host"].strip("[]"), port, found["path"] or "")


def require_security(server: Server, access: Access) -> None:
    """Refuse a connection to another machine without encryption.

    Raises:
        ConfigError: there are no certificates, and the settings do not allow it.
    """
    if access.certificate is None and not access.insecure and not is_loopback(server.host):
        raise ConfigError(
            f"{server.shown}: expected certificate, private_key and server_certificate for a server on another machine. Give "
            "the three files, or set insecure = true if no one else can reach this network."
        )


def parse_node(text: str) -> NodeName:
    """Return the name of a node.

    Raises:
        ValueError: the text is not a name, or has the number of a namespace instead of its URI.

    >>> parse_node("nsu=http://plant/line;s=Line.Voltage")
    NodeName(uri='http://plant/line', kind='s', identifier='Line.Voltage')
    >>> parse_node("i=2258").uri
    ''
    """
    if re.match(r"ns=\d+;", text):
        raise ValueError(
            f"expected the URI of the namespace, for example nsu=http://plant/line;s=Line.Voltage, got {text!r}. Numbers of "
            "namespaces can change when the server starts again."
        )
    found = _NODE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"expected the name of a node, for example nsu=http://plant/line;s=Line.Voltage, got {text!r}."
        )
    # the standard escapes ; and % in URIs
    name = NodeName(unquote(found["uri"] or ""), found["kind"], found["id"])
    try:
        _identifier(name)
    except (ValueError, binascii.Error) as error:
        kinds = {"i": "a number from 0 to 4294967295", "g": "a GUID", "b": "bytes in base64"}
        raise ValueError(f"expected {kinds[name.kind]} after {name.kind}=, got {text!r}.") from error
    return name


def resolve(name: NodeName, namespaces: Sequence[str]) -> "ua.NodeId":
    """Return the node id for the namespaces of a server, in their order.

    Raises:
        Trouble: the server does not have the namespace.
    """
    from asyncua import ua

    if name.uri and name.uri not in namespaces:
        listed = ", ".join(printable(uri, limit=80) for uri in namespaces[1 : 1 + _MOST_SHOWN]) or "none"
        raise Trouble(f"has no namespace {printable(name.uri)}. It has: {listed}")
    kinds = {
        "i": ua.NodeIdType.Numeric,
        "s": ua.NodeIdType.String,
        "g": ua.NodeIdType.Guid,
        "b": ua.NodeIdType.ByteString,
    }
    return ua.NodeId(_identifier(name), namespaces.index(name.uri) if name.uri else 0, kinds[name.kind])


def _identifier(name: NodeName) -> int | str | uuid.UUID | bytes:
    if name.kind == "i":
        number = int(name.identifier)
        if not 0 <= number < 2**32:
            raise ValueError(number)
        return number
    if name.kind == "g":
        return uuid.UUID(name.identifier)
    return base64.b64decode(name.identifier, validate=True) if name.kind == "b" else name.identifier


def check_access(access: Access) -> None:
    """Read the secrets and files of the settings, so that a missing one is an error at the start.

    Raises:
        ConfigError: a secret or file cannot be read, or is not a certificate or key.
        MissingExtra: asyncua is not installed.
    """
    with needs("opcua", "OPC UA"):
        import asyncua  # noqa: F401
    if access.password is not None:
        access.password.reveal()
    _application_uri(access)
    if access.server_certificate is not None:
        _certificate("server_certificate", access.server_certificate)
    if access.private_key is not None:
        _private_key(access.private_key)


async def new_client(server: Server, access: Access, name: str) -> "Client":
    """Return a client that is not connected yet. Each connection needs a new one: asyncua hangs if a client is used again.

    Raises:
        ConfigError: a secret or file cannot be read.
        MissingExtra: asyncua is not installed.
    """
    with needs("opcua", "OPC UA"):
        from asyncua import Client, ua
        from asyncua.crypto import security_policies
    library = logging.getLogger("asyncua")
    if library.level == logging.NOTSET:
        # it logs each failed attempt with a traceback, for months; andon logs each change of state once
        library.setLevel(logging.CRITICAL + 1)
    client = Client(server.url, timeout=access.timeout_s, watchdog_intervall=1.0)
    client.name = client.description = name
    client.session_timeout = int(1000 * SESSION_S)
    if access.user is not None:
        client.set_user(access.user)
        client.set_password(access.password.reveal() if access.password is not None else "")
    if access.certificate is not None and access.private_key is not None and access.server_certificate is not None:
        client.application_uri = _application_uri(access) or client.application_uri
        await client.set_security(
            getattr(security_policies, f"SecurityPolicy{access.security}"),
            access.certificate,
            access.private_key,
            server_certificate=access.server_certificate,
            mode=ua.MessageSecurityMode.SignAndEncrypt,
        )
    return client


async def disconnect(client: "Client") -> None:
    """End a connection in any state. A hung server does not answer, so that only the socket is closed."""
    protocol = client.uaclient.protocol
    try:
        await asyncio.wait_for(client.disconnect(), _GOODBYE_S)
    except Exception:
        logger.debug("the server did not answer the end of the connection", exc_info=True)
    finally:
        # after a server has hung, asyncua takes the socket for closed and would leave it open for ever
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()


def _application_uri(access: Access) -> str:
    """Return the URI in the certificate of andon. Servers refuse a client with another one."""
    if access.certificate is None:
        return ""
    from cryptography import x509

    certificate = _certificate("certificate", access.certificate)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def _content(setting: str, path: str) -> bytes:
    if Path(path).suffix.lower() not in (".pem", ".der"):
        raise ConfigError(
            f"{setting}: expected a file named *.pem or *.der, got {printable(path)}. Convert or rename it."
        )
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {printable(path)} cannot be read: {error.strerror}.") from error


def _certificate(setting: str, path: str) -> "x509.Certificate":
    from cryptography import x509

    content = _content(setting, path)
    try:
        return (x509.load_pem_x509_certificate if _is_pem(path) else x509.load_der_x509_certificate)(content)
    except ValueError as error:
        raise ConfigError(f"{setting}: expected a certificate in {printable(path)}, found other content.") from error


def _private_key(path: str) -> None:
    from cryptography.hazmat.primitives import serialization

    content = _content("private_key", path)
    load = serialization.load_pem_private_key if _is_pem(path) else serialization.load_der_private_key
    try:
        load(content, None)
    except (ValueError, TypeError):  # without the cause: it could quote the file
        raise ConfigError(
            f"private_key: expected a private key without a password in {printable(path)}, found other content."
        ) from None


def _is_pem(path: str) -> bool:
    return path.lower().endswith(".pem")


_REFUSED = {
    "BadUserAccessDenied": "refuses the user or the password",
    "BadIdentityTokenRejected": "refuses the user or the password",
    "BadIdentityTokenInvalid": "refuses this kind of user. Check user and password",
    "BadSecurityChecksFailed": "refuses the certificate of andon. Trust it there",
    "BadCertificateUntrusted": "refuses the certificate of andon. Trust it there",
    "BadCertificateUriInvalid": "refuses the certificate of andon, because of its URI",
    "BadCertificateTimeInvalid": "refuses the certificate of andon, because it has expired or a clock is wrong",
    "BadTooManySessions": "has too many sessions. Wait until it has dropped old ones, or raise its limit",
}


def why(error: BaseException, timeout_s: float) -> str:
    """Return the reason of a failed connection as text that follows the address.

    It contains no secret and no text of the server.

    >>> why(ConnectionRefusedError(111, "Connection refused"), 2.0)
    'cannot be reached: Connection refused'
    """
    from asyncua import ua

    match error:
        case Trouble():
            text = str(error)
        case ua.UaStatusCodeError():
            name = status_name(error.code)
            text = f"{_REFUSED.get(name, 'answers with an error')} ({name})"
        case ua.UaError() if "No matching endpoints" in str(error):
            text = "offers no endpoint with this security. Give certificates, or other ones, or another security policy"
        case ua.UaError() if "certificate mismatch" in str(error):
            text = "has another certificate than server_certificate"
        case TimeoutError():
            text = f"does not answer within {timeout_s:g} s"
        case socket.gaierror():
            text = f"the name of the host cannot be looked up: {error.strerror}"
        case OSError() if error.strerror:
            text = f"cannot be reached: {error.strerror}"
        case ConnectionError():
            text = "the connection is lost"
        case _:
            text = f"failed with {type(error).__name__}"
    return text


def status_name(code: int) -> str:
    """Return the name of a status code, for example ``BadNodeIdUnknown``."""
    from asyncua.ua import status_codes

    name, _ = status_codes.get_name_and_doc(code & 0xFFFF0000)  # without the flags of a single value
    return str(name)
