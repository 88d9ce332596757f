"""Write the state and the results of lines into nodes of an OPC UA server of the plant.

The plant makes the nodes, with the names ``State``, ``Ready``, ``Heartbeat``, ``LastResult``, ``PartId``, ``Score``,
``Reason``, ``ModelDigest``, ``Total``, ``OK``, ``Review``, ``NOK``, ``Invalid`` and ``ResultNumber``. Give their
place as `folder` or `nodes`. Each value is written with the data type of its node. An INVALID result has a bad status code.

A new result is written in two requests, and its number in the second one. The number is therefore written only if the server has
taken everything else.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.event_loop import EventLoop
from andon.foundation.printable import printable
from andon.monitor.controller_kind import ControllerContext, ControllerFailed, ControllerKind
from andon.monitor.node_values import DEFAULT, NUMBER, ValueName, quality_of, types_of, value_of
from andon.monitor.process_image import ProcessImage
from andon.sources.addresses import shown_address
from andon.sources.opcua import (
    Access,
    Server,
    Trouble,
    check_access,
    disconnect,
    new_client,
    parse_address,
    parse_node,
    require_security,
    resolve,
    status_name,
    why,
)

if TYPE_CHECKING:
    from asyncua import Client, ua

_CLOSE_S = 0.5
_MARGIN_S = 0.2
"""Time that the loop gets to report its own time-out."""


class Settings(Access, frozen=True, kw_only=True):
    """Settings of the server."""

    address: Annotated[str, Meta(description="address of the server, opc.tcp://HOST[:PORT]/PATH")]
    folder: Annotated[
        str | None,
        Meta(
            description="name of the folder or object of a line, with {line} in it. Its nodes are found by their browse names"
        ),
    ] = None
    nodes: Annotated[
        str | None,
        Meta(
            description="name of the node of a value, with {line} and {value} in it, such as "
            "nsu=http://plant/andon;s={line}.{value}. Instead of folder"
        ),
    ] = None
    values: Annotated[
        tuple[ValueName, ...],
        Meta(description="names of the values to write. Threshold, ResultTime and Alarms are possible too"),
    ] = DEFAULT
    status_codes: Annotated[
        bool,
        Meta(
            description="write the result and the score with a bad or uncertain status code if they are not valid. Switch it off "
            "for a server that refuses status codes: INVALID is then only a code in LastResult"
        ),
    ] = True
    timeout_s: Annotated[
        float, Meta(gt=0.0, le=5.0, description="longest wait for an answer of the server", extra={"unit": "s"})
    ] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.folder is None) == (self.nodes is None):
            raise ValueError("folder, nodes: expected one of them, got both or neither.")
        if self.nodes is not None and "{value}" not in self.nodes:
            raise ValueError(
                "nodes: expected {value} in the name, for example nsu=http://plant/andon;s={line}.{value}."
            )
        if not self.values:
            raise ValueError('values: expected at least one name, for example ["Ready", "LastResult"], got none.')


class _Node(Struct, frozen=True):
    """A node of the server to write into."""

    id: Any
    shown: str
    data_type: str
    """Name of its data type."""


Nodes = dict[ValueName, _Node]


def open_controller(settings: Settings, context: ControllerContext) -> "OpcUaController":
    """Return the controller. It uses no network.

    Raises:
        ConfigError: the address or a name of a node is wrong, or two lines would have the same nodes. A secret or certificate
            cannot be read. The connection would leave this machine without encryption.
        MissingExtra: asyncua is not installed.
    """
    server = parse_address(settings.address)
    require_security(server, settings)
    setting = "folder" if settings.folder is not None else "nodes"
    pattern = settings.folder if settings.folder is not None else settings.nodes
    assert pattern is not None
    if len(context.lines) > 1 and "{line}" not in pattern:
        raise ConfigError(
            f"{setting}: expected {{line}} in the name, because the controller shows {len(context.lines)} lines, got "
            f"{printable(pattern)!r}."
        )
    for line in context.lines:
        try:
            parse_node(_filled(pattern, line, "Ready"))
        except ValueError as error:
            raise ConfigError(f"{setting}: {printable(str(error), limit=300)}") from error
    check_access(settings)
    return OpcUaController(server, settings, context)


def places(settings: Settings, lines: Collection[str]) -> Collection[str]:
    """Return the nodes that the monitor writes."""
    pattern = settings.nodes if settings.nodes is not None else f"{settings.folder}, {{value}}"
    return [
        f"{_filled(pattern, line, value)} of {shown_address(settings.address)}"
        for line in lines
        for value in settings.values
    ]


class OpcUaController:
    """Connections to one server. Each connection has its own client, in an event loop of its own."""

    def __init__(self, server: Server, settings: Settings, context: ControllerContext) -> None:
        self._server = server
        self._settings = settings
        self._name = context.name
        self._line_names = context.lines
        self._loop: EventLoop | None = None
        self._client: Client | None = None
        self._lines: dict[str, Nodes] = {}
        self._numbers: dict[str, int] = {}

    def connect(self) -> None:
        """Connect, and find all nodes and their data types."""
        self.close()
        self._loop = EventLoop(f"andon controller {self._name}")
        self._run(self._connect(), 2 * self._settings.timeout_s)

    def write(self, image: ProcessImage) -> None:
        """Write the image of a line. Check the result of each value."""
        self._run(self._write(image), self._settings.timeout_s)

    def acknowledged(self, line: str) -> int | None:  # noqa: ARG002 - the interface has the line
        """Return None: clients of the server see each change of the number, and acknowledge nothing."""
        return None

    def close(self) -> None:
        """End the connection."""
        loop, self._loop = self._loop, None
        client, self._client = self._client, None
        self._lines, self._numbers = {}, {}
        if loop is None:
            return
        if client is not None:
            with contextlib.suppress(Exception):  # the end of the loop closes the rest
                loop.run(disconnect(client), _CLOSE_S)
        loop.close(1.0)

    def _run(self, work: Any, timeout_s: float) -> None:
        if self._loop is None:
            work.close()
            raise ControllerFailed(f"{self._server.shown}: not connected")
        try:
            self._loop.run(asyncio.wait_for(work, timeout_s), timeout_s + _MARGIN_S)
        except (ConfigError, MissingExtra) as error:  # a secret or file has gone since the start
            raise ControllerFailed(str(error)) from error
        except Exception as error:
            raise ControllerFailed(f"{self._server.shown}: {why(error, timeout_s)}") from error

    async def _connect(self) -> None:
        self._client = client = await new_client(self._server, self._settings, f"andon {self._name}")
        await client.connect()
        namespaces = await client.get_namespace_array()
        lines = {line: await self._find(client, line, namespaces) for line in self._line_names}
        self._lines = await self._with_types(client, lines)

    async def _find(
        self, client: "Client", line: str, namespaces: Sequence[str]
    ) -> "dict[ValueName, tuple[ua.NodeId, str]]":
        """Return the nodes of a line, and their names for messages."""
        from asyncua import ua

        if self._settings.nodes is not None:
            names = {value: parse_node(_filled(self._settings.nodes, line, value)) for value in self._settings.values}
            return {value: (resolve(name, namespaces), name.shown) for value, name in names.items()}
        assert self._settings.folder is not None
        folder = parse_node(_filled(self._settings.folder, line, ""))
        node = resolve(folder, namespaces)
        (exists,) = await client.uaclient.read_attributes([node], ua.AttributeIds.NodeClass)
        if exists.StatusCode is not None and not exists.StatusCode.is_good():
            raise Trouble(
                f"has no folder {folder.shown} ({status_name(exists.StatusCode.value)}). Create it, or correct folder"
            )
        children = await client.get_node(node).get_children_descriptions()
        found = {child.BrowseName.Name: child.NodeId for child in children}
        absent = [value for value in self._settings.values if value not in found]
        if absent:
            raise Trouble(
                f"has no {', '.join(absent)} below {folder.shown}. Create these variables, or list the others in values"
            )
        return {value: (found[value], f"{folder.shown}, {value}") for value in self._settings.values}

    async def _with_types(
        self, client: "Client", lines: "dict[str, dict[ValueName, tuple[ua.NodeId, str]]]"
    ) -> dict[str, Nodes]:
        """Check that each node is a single writable variable of a data type that its value can have."""
        from asyncua import ua
        from asyncua.common.ua_utils import data_type_to_variant_type

        places = [(line, value, *node) for line, nodes in lines.items() for value, node in nodes.items()]
        attributes = [ua.AttributeIds.DataType, ua.AttributeIds.ValueRank, ua.AttributeIds.UserAccessLevel]
        answers = await client.uaclient.read(
            ua.ReadParameters(
                NodesToRead=[
                    ua.ReadValueId(NodeId=node, AttributeId=attribute)
                    for _, _, node, _ in places
                    for attribute in attributes
                ]
            )
        )
        known: dict[ua.NodeId, str] = {}
        checked: dict[str, Nodes] = {line: {} for line in lines}
        for number, (line, value, node, shown) in enumerate(places):
            kind, rank, level = answers[3 * number : 3 * number + 3]
            if kind.StatusCode is not None and not kind.StatusCode.is_good():
                raise Trouble(f"has no variable {shown} ({status_name(kind.StatusCode.value)})")
            data_type = kind.Value.Value
            if data_type not in known:
                known[data_type] = (await data_type_to_variant_type(client.get_node(data_type))).name
            expected = types_of(value)
            single = rank.Value.Value is None or rank.Value.Value in _SCALAR
            if known[data_type] not in expected or not single:
                got = known[data_type] if single else f"a list of {known[data_type]}"
                raise Trouble(f"has a wrong data type for {shown}: expected {', '.join(expected)}, got {got}")
            writable = level.Value.Value
            if writable is not None and not writable & _CURRENT_WRITE:
                raise Trouble(f"does not allow this user to write {shown}. Grant the right, or leave it out of values")
            checked[line][value] = _Node(node, shown, known[data_type])
        return checked

    async def _write(self, image: ProcessImage) -> None:
        nodes = self._lines[image.line]
        last = {name: node for name, node in nodes.items() if name == NUMBER}
        if last and self._numbers.get(image.line) != image.number:
            # a server may take some values of a request and refuse others. It must not get the number of a refused result
            await self._request({name: node for name, node in nodes.items() if name != NUMBER}, image)
            await self._request(last, image)
            self._numbers[image.line] = image.number
        else:
            await self._request({**nodes, **last}, image)

    async def _request(self, nodes: Nodes, image: ProcessImage) -> None:
        """Write some values with one request, in their order."""
        from asyncua import ua

        if self._client is None or not nodes:
            return
        results = await self._client.uaclient.write(
            ua.WriteParameters(
                NodesToWrite=[
                    ua.WriteValue(
                        NodeId=node.id, AttributeId=ua.AttributeIds.Value, Value=self._value(name, node, image)
                    )
                    for name, node in nodes.items()
                ]
            )
        )
        if len(results) != len(nodes):
            raise Trouble(f"answers with {len(results)} results instead of {len(nodes)}")
        for node, result in zip(nodes.values(), results, strict=True):
            if not result.is_good():
                raise Trouble(_refusal(node.shown, status_name(result.value)))

    def _value(self, name: ValueName, node: _Node, image: ProcessImage) -> "ua.DataValue":
        """Return the value without times. Many servers refuse times, and a status code even if it is good."""
        from asyncua import ua

        quality = quality_of(name, image) if self._settings.status_codes else ""
        status = ua.StatusCode(getattr(ua.StatusCodes, quality)) if quality else None
        variant = ua.Variant(value_of(name, image, node.data_type), getattr(ua.VariantType, node.data_type))
        return ua.DataValue(variant, StatusCode=status)


_SCALAR = (-1, -2, -3)
"""Value ranks of variables that can be a single value."""
_CURRENT_WRITE = 2
_REASONS = {
    "BadNodeIdUnknown": "has no node any more for",
    "BadNotWritable": "does not allow to write",
    "BadUserAccessDenied": "does not allow this user to write",
    "BadTypeMismatch": "has a new data type for",
    "BadWriteNotSupported": "does not take a status code for",
}


def _refusal(shown: str, name: str) -> str:
    advice = ". Set status_codes = false" if name == "BadWriteNotSupported" else ""
    return f"{_REASONS.get(name, 'refuses the value of')} {shown} ({name}){advice}"


def _filled(pattern: str, line: str, value: str) -> str:
    return pattern.replace("{line}", line).replace("{value}", value)


CONTROLLER = ControllerKind(
    name="opcua",
    summary="nodes of an OPC UA server",
    settings=Settings,
    open=open_controller,
    places=places,
)
