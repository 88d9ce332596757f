"""An RTSP server for tests, in a process of its own: GStreamer's, which needs the system's Python."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

_SCRIPT = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
if sys.argv[1] == "check":
    sys.exit(0 if all(Gst.ElementFactory.find(name) for name in ("videotestsrc", "x264enc", "rtph264pay")) else 1)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
auth = GstRtspServer.RTSPAuth()
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth.add_basic(GstRtspServer.RTSPAuth.make_basic("admin", "CANARY pass"), token)
server.set_auth(auth)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=%s,height=%s,framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    % (sys.argv[2], sys.argv[3])
)
factory.set_shared(True)
factory.add_role_from_structure(
    Gst.Structure.from_string("viewer,media.factory.access=true,media.factory.construct=true")[0]
)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.timeout_add_seconds(120, sys.exit)  # the test may be killed before it ends the server
GLib.MainLoop().run()
"""


@cache
def absent() -> str:
    """Return why the server cannot run here, or an empty text."""
    python = shutil.which("python3", path="/usr/bin")
    if sys.platform != "linux" or python is None:
        return "the RTSP server needs the system's Python on Linux"
    done = subprocess.run([python, "-c", _SCRIPT, "check"], capture_output=True, check=False, timeout=60)
    return (
        ""
        if done.returncode == 0
        else (
            "the RTSP server needs the packages python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base "
            "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
        )
    )


class RtspServer:
    """A live camera on loopback: 25 frames per second, H.264 with a key frame each second."""

    def __init__(self, width: int = 320, height: int = 180) -> None:
        python = str(Path("/usr/bin/python3"))
        self.process = subprocess.Popen(
            [python, "-c", _SCRIPT, "serve", str(width), str(height)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @property
    def url(self) -> str:
        """The address, with a password whose encoded and decoded forms differ."""
        return f"rtsp://admin:CANARY%20pass@127.0.0.1:{self.port}/live"

    def close(self) -> None:
        """End the process, also a stopped one."""
        self.process.kill()
        self.process.wait(10.0)
        assert self.process.stdout is not None
        self.process.stdout.close()
