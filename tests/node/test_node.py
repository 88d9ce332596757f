"""A model file gives the same verdicts in another language: Node reads the bytes and ONNX Runtime for Node judges."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.runtime.forge import ort_marked, text_edit
from tests.runtime.hand_made import FRAME, GREY, WINDOW, frame, model_bytes, window
from tests.runtime.test_old_files import OLD, items

from andon.runtime import Detector
from andon.runtime.mask_pixels import pack
from andon.runtime.model_file.format import parse
from andon.runtime.schema import InputSpec, SceneCheck, Tiles

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> str:
    """Return the path of node. Skip the tests without it, unless ANDON_REQUIRE_NODE=1."""
    found = shutil.which("node")
    missing = (
        "no node"
        if found is None
        else ""
        if (HERE / "node_modules").is_dir()
        else "no node_modules: npm ci --prefix tests/node"
    )
    if missing and os.environ.get("ANDON_REQUIRE_NODE") == "1":
        pytest.fail(f"ANDON_REQUIRE_NODE=1, but {missing}")
    if missing or found is None:
        pytest.skip(missing)
    return found


def _judged(node: str, path: Path, items: NDArray[Any], *more: str) -> subprocess.CompletedProcess[str]:
    raw = path.with_suffix(".bin")
    raw.write_bytes(items.tobytes())
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    return subprocess.run(
        [node, str(HERE / "judge.mjs"), str(path), str(raw), *more],
        env=environment | {"HOME": str(path.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _windows() -> NDArray[np.float32]:
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 2.001, 5.0, np.nan, np.inf, 3e38]
    noise = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    return np.concatenate([np.stack([window(value) for value in values]), noise])


def _frames(channels: int, size: tuple[int, int] = (32, 48)) -> NDArray[np.uint8]:
    levels = (128, 135, 160, 180, 230, 20)
    judged = [frame(seed, size=size, channels=channels, level=level) for seed, level in enumerate(levels)]
    return np.stack([*judged, frame(size=size, channels=channels, level=0, spread=0)])


@pytest.mark.parametrize(
    ("spec", "threshold", "items"),
    [(WINDOW, 4.0, _windows()), (FRAME, 0.5, _frames(3)), (GREY, 0.5, _frames(1))],
    ids=["windows", "rgb", "grey"],
)
def test_node_judges_as_python_does(
    node: str, tmp_path: Path, spec: InputSpec, threshold: float, items: NDArray[Any]
) -> None:
    data = model_bytes(spec, threshold=threshold, review=threshold / 4)
    path = tmp_path / "model.onnx"
    path.write_bytes(data)

    ended = _judged(node, path, items)

    assert (ended.returncode, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    expected = [
        verdict.to_dict() | {"reason": int(verdict.reason)} for verdict in Detector.from_bytes(data).batch(list(items))
    ]
    assert len({verdict["status"] for verdict in expected}) == 4
    for got, wanted in zip(answer["verdicts"], expected, strict=True):
        for name in ("status", "reason", "model", "threshold"):
            assert got[name] == wanted[name]
        for name in ("score", "p_value"):
            assert got[name] == (None if wanted[name] is None else pytest.approx(wanted[name], rel=1e-5))
    assert answer["digest"] == parse(data).digest
    assert answer["golden"]["score"] == pytest.approx(answer["golden"]["expected"], rel=1e-5)


@pytest.mark.parametrize("name", ["grey", "squares"])
def test_node_judges_files_of_schema_1_0_as_they_were_judged_then(node: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / "old.onnx"
    path.write_bytes((OLD / f"{name}.onnx").read_bytes())
    expected = json.loads((OLD / "verdicts.json").read_text(encoding="utf-8"))[name]

    ended = _judged(node, path, np.stack(items(Detector.load(path))))

    assert (ended.returncode, ended.stderr) == (0, "")
    for got, then in zip(json.loads(ended.stdout)["verdicts"], expected["verdicts"], strict=True):
        assert got["status"] == then["status"]
        assert got["score"] == (None if then["score"] is None else pytest.approx(then["score"], rel=1e-5))


_SCENE = {"andon.scene_center": np.zeros(5, np.float32), "andon.scene_limit": np.ones(2, np.float32)}


def test_node_reads_a_file_with_a_scene_check(node: str, tmp_path: Path) -> None:
    spec = replace(FRAME, scene=SceneCheck(features=5, limits=2, quantile=0.999, n=100))
    path = tmp_path / "scene.onnx"
    path.write_bytes(model_bytes(spec, threshold=0.5, weights=_SCENE))

    assert _judged(node, path, _frames(3)).returncode == 0


@pytest.mark.parametrize(
    "changes",
    [{"ignore": pack(np.eye(32, 48, dtype=np.bool_))}, {"tiles": Tiles(rows=1, columns=2, overlap=0, chunk=2)}],
    ids=["mask", "tiles"],
)
def test_node_refuses_frames_of_another_size_for_files_with_masks_or_tiles(
    node: str, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = tmp_path / "bound.onnx"
    path.write_bytes(model_bytes(replace(FRAME, frame_size=(32, 48), **changes), threshold=0.5))

    refused = _judged(node, path, _frames(3, size=(48, 32)), "48x32")

    assert _judged(node, path, _frames(3), "32x48").returncode == 0
    assert refused.returncode == 2
    assert "belong to frames of 32x48, got 48x32" in refused.stderr


def test_node_leaves_no_telemetry_at_home(node: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes())

    assert _judged(node, path, _windows()).returncode == 0

    assert sorted(left.name for left in tmp_path.rglob("*")) == ["model.bin", "model.onnx"]


def _scene_without_limit() -> bytes:
    scene = '"scene":{"features":5,"limits":2,"quantile":1.0,"n":1}'
    data = model_bytes(FRAME)
    return text_edit(data, "andon", lambda text: text.replace('"scene":null', scene))


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (model_bytes()[:-1], "truncated"),
        (model_bytes().replace(b"pressure", b"prezzure"), "digest does not match"),
        (text_edit(model_bytes(), "andon", lambda text: text.replace('"schema":[1,', '"schema":[2,')), "schema 2,1"),
        (text_edit(model_bytes(), "andon.calibration_log", lambda _: "[]"), "not that of the last log entry"),
        (model_bytes() + b"\x08\x0a", "digest does not match"),
        (ort_marked(model_bytes()), "bytes 4 to 7"),
        (text_edit(model_bytes(FRAME), "andon", lambda text: text.replace('"uint8"', '"uint16"')), "uint8 frames only"),
        (_scene_without_limit(), "an initialiser of andon is missing"),
    ],
    ids=["truncated", "damaged", "another schema", "no log", "appended", "two formats", "uint16", "half a scene check"],
)
def test_node_refuses_what_python_refuses(node: str, tmp_path: Path, forged: bytes, why: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(forged)

    ended = _judged(node, path, _windows())

    assert ended.returncode == 2
    assert why in ended.stderr


def test_node_opens_bytes_as_onnx_whatever_they_look_like(node: str, tmp_path: Path) -> None:
    (tmp_path / "marked.onnx").write_bytes(ort_marked(model_bytes()))
    script = (
        "const [reader, path] = process.argv.slice(1);"
        "const { loadJudge } = await import(reader);"
        "const bytes = (await import('node:fs')).readFileSync(path);"
        "const judge = await loadJudge({ bytes, digest: '', card: { input: { kind: 'window' } } });"
        "console.log((await judge(new Float32Array(8).fill(3), [1, 4, 2]))[0].status);"
    )

    ended = subprocess.run(
        [node, "--input-type=module", "-e", script, (HERE / "reader.mjs").as_uri(), str(tmp_path / "marked.onnx")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == ("REJECT\n", "")
