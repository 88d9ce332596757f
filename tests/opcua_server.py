"""A real OPC UA server in a child process, for tests and benchmarks. It is killed, stopped and continued by its own process id.

The parent sends commands as JSON lines to standard input, and gets one JSON line for each.
"""

import asyncio
import contextlib
import datetime
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMESPACE = "http://plant/line"


class OpcUaServer:
    """The parent's side.

    Args:
        port: a free port below those that the system gives to clients.
        variables: names and first values of variables. A name is the identifier of the node too.
        folder: name of a folder for the variables whose names begin with it and a dot. Their browse names are the rest.
        other_namespaces: number of namespaces before the one of the plant.
        password: password of the user ``andon``. None: everyone is let in.
        read_only: names of variables that clients cannot write.
        refuse_status: True if a write with a status code is refused, as many PLCs do.
        types: OPC UA types of variables, by name. Default: that of the first value.
        security: files of the certificate and key of the server.
    """

    def __init__(self, port: int, variables: dict[str, Any], **options: Any) -> None:
        self.port = port
        self._options = {"port": port, "variables": variables, **options}
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/plant"

    @property
    def name(self) -> str:
        return "opc.tcp://127.0.0.1/plant"

    def start(self, **changed: Any) -> "OpcUaServer":
        """Start the server and wait until it answers. The options can be changed at each start."""
        self._options.update(changed)
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self._options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert self._answer() == "started"
        return self

    def do(self, command: str, *arguments: Any) -> Any:
        """Let the server do something, and return its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def set(self, **values: Any) -> None:
        """Set values of variables, with the present time. A point in a name is written as two underscores."""
        self.do("write", [[name.replace("__", "."), value, None, ""] for name, value in values.items()])

    def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        return json.loads(line)

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10.0)
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):
                    pipe.close()
            self._process = None


@contextlib.contextmanager
def running(port: int, variables: dict[str, Any], **options: Any) -> Iterator[OpcUaServer]:
    server = OpcUaServer(port, variables, **options)
    try:
        yield server.start()
    finally:
        server.kill()


async def _serve(options: dict[str, Any]) -> None:
    from asyncua import Server, ua
    from asyncua.crypto.permission_rules import User, UserRole

    class Users:
        def get_user(self, _server: object, username: str | None = None, password: str | None = None, **_: Any) -> Any:
            wanted = options.get("password")
            return User(role=UserRole.User) if wanted is None or (username, password) == ("andon", wanted) else None

    server = Server(user_manager=Users())
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options['port']}/plant")
    if "security" in options:
        certificate, key = options["security"]
        await server.load_certificate(certificate)
        await server.load_private_key(key)
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    if options.get("password") is not None:
        server.set_identity_tokens([ua.UserNameIdentityToken])
    for number in range(options.get("other_namespaces", 0)):
        await server.register_namespace(f"http://other/{number}")
    index = await server.register_namespace(options.get("namespace", NAMESPACE))
    folder = options.get("folder")
    parent = await server.nodes.objects.add_folder(ua.NodeId(folder, index), f"{index}:{folder}") if folder else None
    nodes: dict[str, Any] = {}

    async def add(name: str, value: Any) -> None:
        below = parent if parent is not None and name.startswith(f"{folder}.") else server.nodes.objects
        kind = options.get("types", {}).get(name)
        variant = None if kind is None else getattr(ua.VariantType, kind)
        shown = name.removeprefix(f"{folder}.") if below is parent else name
        nodes[name] = await below.add_variable(ua.NodeId(name, index), f"{index}:{shown}", value, varianttype=variant)
        if name not in options.get("read_only", ()):
            await nodes[name].set_writable()

    for name, value in options["variables"].items():
        await add(name, value)

    space = server.iserver.aspace
    original = space.write_attribute_value
    writes: list[list[Any]] = []
    known = {node.nodeid: name for name, node in nodes.items()}

    async def write_attribute_value(nodeid: Any, attribute: Any, value: Any) -> Any:
        """Record the writes of clients. Clients write by the attribute service, the server by its own session."""
        if nodeid in known and asyncio.current_task() is not commands:
            status = value.StatusCode
            if options.get("refuse_status") and status is not None and status.value:
                return ua.StatusCode(ua.StatusCodes.BadWriteNotSupported)
            answer = await original(nodeid, attribute, value)
            if answer.is_good():
                writes.append([known[nodeid], _plain(value.Value.Value), "" if status is None or not status.value else status.name])
            return answer
        return await original(nodeid, attribute, value)

    space.write_attribute_value = write_attribute_value

    async def do(command: str, arguments: list[Any]) -> Any:
        if command == "write":
            for name, value, time_s, status in arguments[0]:
                when = datetime.datetime.fromtimestamp(time_s, datetime.UTC) if time_s is not None else datetime.datetime.now(datetime.UTC)
                kind = options.get("types", {}).get(name)
                variant = ua.Variant(value, getattr(ua.VariantType, kind)) if kind else ua.Variant(value)
                code = ua.StatusCode(getattr(ua.StatusCodes, status or "Good"))
                await nodes[name].write_value(ua.DataValue(variant, code, SourceTimestamp=when))
            return "done"
        if command == "ramp":
            names, count, begin_s, step_s, burst = arguments
            for at in range(count):
                when = datetime.datetime.fromtimestamp(begin_s + at * step_s, datetime.UTC)
                for name in names:
                    await nodes[name].write_value(ua.DataValue(ua.Variant(float(at + 1)), SourceTimestamp=when))
                if at % burst == burst - 1:
                    await asyncio.sleep(0.03)
            return "done"
        if command == "read":
            value = space.read_attribute_value(nodes[arguments[0]].nodeid, ua.AttributeIds.Value)
            return [_plain(value.Value.Value), value.StatusCode.name]
        if command == "writes":
            taken, writes[:] = list(writes), []
            return taken
        if command == "forget":  # the connections stay, but no change is reported any more
            for node in nodes.values():
                space._nodes[node.nodeid].attributes[ua.AttributeIds.Value].datachange_callbacks.clear()
            return "done"
        if command == "add":
            await add(*arguments)
            known[nodes[arguments[0]].nodeid] = arguments[0]
            return "done"
        if command == "delete":
            await server.delete_nodes([nodes.pop(arguments[0])])
            return "done"
        raise ValueError(command)

    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    async def follow() -> None:
        while line := await lines.get():
            command, *arguments = json.loads(line)
            print(json.dumps(await do(command, arguments)), flush=True)

    commands = asyncio.create_task(follow())
    async with server:
        threading.Thread(target=read, daemon=True).start()
        print(json.dumps("started"), flush=True)
        await commands  # ends with the parent's end of standard input


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime) else value


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
