"""A real OPC UA server in a child process, for tests and benchmarks. It is killed, stopped and continued by its own process id.

The parent sends commands as JSON lines to standard input, and gets one JSON line for each.
"""

import asyncio
import contextlib
import datetime as dt
import json
import signal
import subprocess
import sys
import threading
import time
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
        from tests.stopped_process import stop

        assert self._process is not None
        stop(self._process.pid)

    def go_on(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        return self._process is not None

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


class _Plant:
    """The child's side: the server with its variables. Each command of the parent is a method."""

    def __init__(self, options: dict[str, Any]) -> None:
        from asyncua import Server

        self._options = options
        self._server = Server(user_manager=self)
        self._nodes: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        self._writes: list[list[Any]] = []
        self._commands: asyncio.Task[None] | None = None

    def get_user(self, _server: object, username: str | None = None, password: str | None = None, **_: object) -> Any:
        from asyncua.crypto.permission_rules import User, UserRole

        wanted = self._options.get("password")
        return User(role=UserRole.User) if wanted is None or (username, password) == ("andon", wanted) else None

    async def serve(self) -> None:
        from asyncua import ua

        server, options = self._server, self._options
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{options['port']}/plant")
        policy = ua.SecurityPolicyType.NoSecurity
        if "security" in options:
            certificate, key = options["security"]
            await server.load_certificate(certificate)
            await server.load_private_key(key)
            policy = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
        server.set_security_policy([policy])
        if options.get("password") is not None:
            server.set_identity_tokens([ua.UserNameIdentityToken])
        for number in range(options.get("other_namespaces", 0)):
            await server.register_namespace(f"http://other/{number}")
        self._index = await server.register_namespace(NAMESPACE)
        self._folder = options.get("folder")
        self._parent = server.nodes.objects
        if self._folder:
            node = ua.NodeId(self._folder, self._index)
            self._parent = await server.nodes.objects.add_folder(node, f"{self._index}:{self._folder}")
        for name, value in options["variables"].items():
            await self.add(name, value)
        self._space = server.iserver.aspace
        self._original = self._space.write_attribute_value
        self._space.write_attribute_value = self._write_attribute_value
        self._commands = asyncio.create_task(self._follow())
        async with server:
            print(json.dumps("started"), flush=True)
            await self._commands  # ends with the parent's end of standard input

    async def _write_attribute_value(self, nodeid: Any, attribute: Any, value: Any) -> Any:
        """Record the writes of clients, and refuse status codes as many PLCs do."""
        from asyncua import ua

        if nodeid not in self._names or asyncio.current_task() is self._commands:
            return await self._original(nodeid, attribute, value)
        status = "Good" if value.StatusCode is None else value.StatusCode.name
        if self._options.get("refuse_status") and status != "Good":
            return ua.StatusCode(ua.StatusCodes.BadWriteNotSupported)
        answer = await self._original(nodeid, attribute, value)
        if answer.is_good():
            self._writes.append([self._names[nodeid], _plain(value.Value.Value), status])
        return answer

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[str] = asyncio.Queue()

        def read() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "")

        threading.Thread(target=read, daemon=True).start()
        while line := await lines.get():
            command, *arguments = json.loads(line)
            print(json.dumps(await getattr(self, command)(*arguments)), flush=True)

    def _variant(self, name: str, value: Any) -> Any:
        from asyncua import ua

        kind = self._options.get("types", {}).get(name)
        if kind == "DateTime":
            value = dt.datetime.fromisoformat(value).replace(tzinfo=dt.UTC)
        return ua.Variant(value) if kind is None else ua.Variant(value, getattr(ua.VariantType, kind))

    async def add(self, name: str, value: Any) -> None:
        """Add a variable."""
        from asyncua import ua

        below = self._folder is not None and name.startswith(f"{self._folder}.")
        shown = name.removeprefix(f"{self._folder}.") if below else name
        parent = self._parent if below else self._server.nodes.objects
        node = await parent.add_variable(
            ua.NodeId(name, self._index), f"{self._index}:{shown}", self._variant(name, value)
        )
        if name not in self._options.get("read_only", ()):
            await node.set_writable()
        self._nodes[name], self._names[node.nodeid] = node, name

    async def delete(self, name: str) -> None:
        """Delete a variable."""
        await self._server.delete_nodes([self._nodes.pop(name)])

    async def write(self, values: list[tuple[str, Any, float | None, str]]) -> None:
        """Set values, each with its source time (null: now) and the name of its status."""
        from asyncua import ua

        for name, value, time_s, status in values:
            when = dt.datetime.now(dt.UTC) if time_s is None else dt.datetime.fromtimestamp(time_s, dt.UTC)
            code = ua.StatusCode(getattr(ua.StatusCodes, status or "Good"))
            await self._nodes[name].write_value(ua.DataValue(self._variant(name, value), code, SourceTimestamp=when))

    async def ramp(self, names: list[str], count: int, begin_s: float, step_s: float, burst: int) -> None:
        """Set 1, 2, 3 and so on, with source times `step_s` apart, in bursts."""
        from asyncua import ua

        for at in range(count):
            when = dt.datetime.fromtimestamp(begin_s + at * step_s, dt.UTC)
            for name in names:
                await self._nodes[name].write_value(ua.DataValue(ua.Variant(float(at + 1)), SourceTimestamp=when))
            if at % burst == burst - 1:
                await asyncio.sleep(0.03)

    async def read(self, name: str) -> list[Any]:
        """Return the value and the name of the status of a variable."""
        from asyncua import ua

        value = self._space.read_attribute_value(self._nodes[name].nodeid, ua.AttributeIds.Value)
        return [_plain(value.Value.Value), value.StatusCode.name if value.StatusCode is not None else "Good"]

    async def writes(self) -> list[list[Any]]:
        """Return the names, values and statuses that clients have written since the last call, in order."""
        taken, self._writes = self._writes, []
        return taken

    async def reset(self) -> None:
        """Give all variables their first values, and let clients write them."""
        await self.write([(name, value, None, "") for name, value in self._options["variables"].items()])
        await self.refuse(refused=False)

    async def refuse(self, refused: bool) -> None:
        """Refuse all writes of clients, or take them again."""
        for node in self._nodes.values():
            await node.set_writable(not refused)

    async def forget(self) -> None:
        """Report no change any more, although the connections stay."""
        from asyncua import ua

        for node in self._nodes.values():
            self._space._nodes[node.nodeid].attributes[ua.AttributeIds.Value].datachange_callbacks.clear()

    async def cpu_s(self) -> float:
        """Return the CPU time of the server."""
        return time.process_time()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.datetime) else value


if __name__ == "__main__":
    asyncio.run(_Plant(json.loads(sys.argv[1])).serve())
