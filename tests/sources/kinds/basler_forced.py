"""Basler devices with a fault or a trigger that the emulator makes. Opened in the process of a camera."""

import threading
import time
from typing import Any

from andon.sources.live.basler_device import BaslerDevice, open_device


def failing(camera: str, settings: Any) -> BaslerDevice:
    """Return a camera that sends three incomplete buffers after its first frames."""
    device = open_device(camera, settings)
    nodes = device.camera.GetNodeMap()
    nodes.GetNode("ForceFailedBufferCount").SetValue(3)

    def fail() -> None:
        time.sleep(0.5)
        nodes.GetNode("ForceFailedBuffer").Execute()

    threading.Thread(target=fail, daemon=True).start()
    return device


def triggered(camera: str, settings: Any) -> BaslerDevice:
    """Return a camera that gets a software trigger each second."""
    device = open_device(camera, settings)

    def trigger() -> None:
        while True:
            time.sleep(1.0)
            device.camera.GetNodeMap().GetNode("TriggerSoftware").Execute()

    threading.Thread(target=trigger, daemon=True).start()
    return device
