"""Run the contract checks on all registered sources, each with small simulated data. A new source needs data here."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.sources.kinds.camera_emulators import emulate_basler, needs_basler, needs_genicam, viky
from tests.sources.kinds.test_cifar10 import subset

from andon.foundation.registry import load, names
from andon.runtime.schema import Channel, FrameSpec, WindowSpec
from andon.sources.contract import CHECKS, Specimen
from andon.sources.kinds.basler import Settings as BaslerSettings
from andon.sources.kinds.camera import Settings as CameraSettings
from andon.sources.kinds.genicam import Settings as GenicamSettings
from andon.sources.kinds.modbus import Settings as ModbusSettings
from andon.sources.kinds.mqtt import Settings as MqttSettings
from andon.sources.kinds.opcua import Settings as OpcUaSettings
from andon.sources.kinds.stdin import Settings as StdinSettings
from andon.sources.live.folder_watch import FollowSettings
from andon.sources.modbus.registers import Register
from andon.sources.pictures.encode import write_png
from andon.sources.source import Source

NEED_DATA = {
    "mnist": "the digests of the published files are checked, so simulated files are refused",
    "fashion_mnist": "the digests of the published files are checked, so simulated files are refused",
}
"""Sources without simulated data, with the reason. They are checked on the published data, if `ANDON_DATA` has them."""

Make = Callable[[Source, Path], Specimen]


def images(source: Source, folder: Path) -> Specimen:
    for place in ("sound", "damaged"):
        for number in range(5):
            write_png(put(folder / place / f"{number}.png"), picture(number, (12, 16) if number else (20, 10)))
    cut_short(folder / "damaged/3.png")
    return Specimen(
        source,
        str(folder / "sound"),
        damaged=str(folder / "damaged"),
        settings=FollowSettings(settle_s=0.1, poll_s=0.05),
    )


def classes(source: Source, folder: Path) -> Specimen:
    for place in ("sound", "damaged"):
        for number in range(24):
            write_png(put(folder / place / "ab"[number % 2] / f"{number}.png"), picture(number))
            if place == "damaged" and number % 4 < 2:
                cut_short(folder / place / "ab"[number % 2] / f"{number}.png")
    return Specimen(source, f"classes:{folder / 'sound'},normal=a", damaged=f"classes:{folder / 'damaged'},normal=a")


def cifar10(source: Source, folder: Path) -> Specimen:
    # one picture of a subset cannot be damaged alone: all are in one file
    return Specimen(source, f"cifar10:normal=airplane,root={subset(folder, train=12, test=9)}")


def video(source: Source, folder: Path) -> Specimen:
    path = folder / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (48, 32))
    assert writer.isOpened()
    for number in range(8):
        writer.write(picture(number, (32, 48)))
    writer.release()
    damaged = folder / "damaged.avi"
    data = path.read_bytes()
    damaged.write_bytes(data[: len(data) // 2])
    return Specimen(source, str(path), damaged=str(damaged))


def logs(source: Source, folder: Path) -> Specimen:
    rows = [f"{number},{np.sin(number):.4f},{number % 7}" for number in range(60)]
    for name, kept in (("sound", rows), ("damaged", rows[:20] + rows[35:])):
        put(folder / name / "pump.csv").write_text("\n".join(["time,flow,level", *kept]) + "\n", encoding="utf-8")
    return Specimen(source, str(folder / "sound"), damaged=str(folder / "damaged"))


def power_converter(source: Source, _folder: Path) -> Specimen:
    return Specimen(source, "power_converter:runs=2,rows=64")  # simulated: there is nothing to damage


def stdin(source: Source, _folder: Path) -> Specimen:
    spec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="flow"), Channel(name="level")))
    return Specimen(
        source, "-", damaged="-", spec=spec, items=5, settings=StdinSettings(stale_after_s=30.0), feed=write_to_stdin
    )


def mqtt(source: Source, _folder: Path) -> Specimen:
    # samples need a broker; tests/sources/kinds/test_mqtt.py starts one
    spec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="flow"),))
    return Specimen(source, "mqtt://127.0.0.1:9/none", spec=spec, items=0, settings=MqttSettings(stale_after_s=0.3))


def modbus(source: Source, _folder: Path) -> Specimen:
    # samples need a device; tests/sources/kinds/test_modbus.py starts one
    spec = WindowSpec(steps=4, hop=2, period_s=0.1, channels=(Channel(name="flow"),))
    settings = ModbusSettings(registers={"flow": Register(address=1)}, stale_after_s=0.3)
    return Specimen(source, "modbus://127.0.0.1:9", spec=spec, items=0, settings=settings)


def opcua(source: Source, _folder: Path) -> Specimen:
    # samples need a server; tests/sources/kinds/test_opcua.py starts one, and runs the contract with it
    pytest.importorskip("asyncua", reason="asyncua is not installed")
    spec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="flow"),))
    settings = OpcUaSettings(nodes="nsu=urn:plant;s={channel}", stale_after_s=0.3)
    return Specimen(source, "opc.tcp://127.0.0.1:9/none", spec=spec, items=0, settings=settings)


def camera(source: Source, _folder: Path) -> Specimen:
    # frames need a camera; tests/sources/live and test_camera.py check them with a scripted one
    return Specimen(
        source,
        "camera:97",
        spec=FrameSpec(channels=3, size=(16, 16)),
        settings=CameraSettings(stale_after_s=0.3),
        items=0,
    )


def genicam(source: Source, _folder: Path) -> Specimen:
    return Specimen(
        source,
        "genicam:0",
        spec=FrameSpec(channels=3, size=(16, 16)),
        settings=GenicamSettings(cti_file=viky(), stale_after_s=15.0),
        items=3,
    )


def basler(source: Source, _folder: Path) -> Specimen:
    emulate_basler()
    return Specimen(
        source,
        "basler:0",
        spec=FrameSpec(channels=1, size=(16, 16)),
        settings=BaslerSettings(frame_rate_hz=20.0, stale_after_s=15.0),
        items=3,
    )


MARKS = {"genicam": [needs_genicam, pytest.mark.slow], "basler": [needs_basler, pytest.mark.slow]}
"""Marks of sources that need more packages. Their default tests are in tests/sources/kinds."""

SIMULATED: dict[str, Make] = {
    make.__name__: make
    for make in (
        images,
        classes,
        cifar10,
        video,
        logs,
        power_converter,
        stdin,
        mqtt,
        modbus,
        opcua,
        camera,
        genicam,
        basler,
    )
}


def published(source: Source, data: Path) -> Specimen:
    return Specimen(source, f"{source.name}:normal=0,root={data / source.name},outlier_share=0.1")


def picture(seed: int, size: tuple[int, int] = (12, 16)) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def write_to_stdin(damaged: bool) -> None:
    """Replace standard input by a pipe with samples, which stays open: nothing more arrives."""
    out, into = os.pipe()
    _pipes.append(into)
    lines = [json.dumps({"t": float(at), "values": [at * 1.5, -float(at)]}) for at in range(24)]
    if damaged:
        lines.insert(5, '{"t": 4.5, "values": ')
    os.write(into, ("\n".join(lines) + "\n").encode())
    sys.stdin = io.TextIOWrapper(io.FileIO(out))


_pipes: list[int] = []


@pytest.fixture(autouse=True)
def standard_input() -> Iterator[None]:
    before = sys.stdin
    yield
    if sys.stdin is not before:
        sys.stdin.close()
        sys.stdin = before
    while _pipes:
        os.close(_pipes.pop())


def sources() -> list[Any]:
    needed = [pytest.mark.data, pytest.mark.slow]
    return [
        pytest.param(name, id=name, marks=needed if name in NEED_DATA else MARKS.get(name, []))
        for name in names("andon.sources")
    ]


@pytest.fixture(scope="session", params=sources())
def specimen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    name: str = request.param
    source: Source = load("andon.sources", name)
    if name in NEED_DATA:
        return published(source, request.getfixturevalue("andon_data"))
    assert name in SIMULATED, f"the source {name}: expected small data for the contract in {__file__}, found none"
    return SIMULATED[name](source, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_source_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)


def test_each_source_with_a_reason_against_simulated_data_exists() -> None:
    assert set(NEED_DATA) <= set(names("andon.sources"))
    assert not set(NEED_DATA) & set(SIMULATED)
