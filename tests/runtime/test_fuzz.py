"""A thousand damaged and forged files: each is refused, or judged as the model that any protobuf reader finds in it.

A file with the old digest is damaged and must be refused. A file with a new digest is another model and may be judged. Its
verdict is honest if ONNX Runtime gives exactly the same for the model that the onnx package reads from the same bytes. Then all
readers see the model that andon checked (`fuzz_files.py`). No file may end the process.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.random import Generator
from tests.runtime import forge
from tests.runtime.forge import TRAILER, reseal
from tests.runtime.hand_made import GREY, WINDOW, frame, model_bytes, window

from andon.runtime import ModelFileError
from andon.runtime.model_file.protobuf import BYTES, bytes_field, varint_field, walk

pytestmark = pytest.mark.fuzz

COUNT = 1000
SEED = 20261128
BASES = (
    model_bytes(WINDOW, review=1.0, calibrations=2),
    model_bytes(GREY, threshold=0.5, review=0.2),
    forge.ort_marked(model_bytes(WINDOW)),
)
"""The last one is refused as it is. Changes to it show whether anything else gets past its mark."""


class Case(NamedTuple):
    kind: str
    sealed: bool
    data: bytes


def test_a_thousand_forged_files_are_refused_or_judged_as_what_they_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(SEED)
    cases = [Case("untouched", True, base) for base in BASES] + [_case(generator) for _ in range(COUNT)]
    paths = [tmp_path / f"{number:04}_{case.kind.replace(' ', '_')}.onnx" for number, case in enumerate(cases)]
    for path, case in zip(paths, cases, strict=True):
        path.write_bytes(case.data)
    levels = (0.0, 0.9, 1.5, 3.0, float("nan"))
    np.savez(
        tmp_path / "items.npz",
        WindowSpec=np.stack([window(level) for level in levels]),
        FrameSpec=np.stack([frame(seed, channels=1, level=128 + 25 * seed)[..., 0] for seed in range(5)]),
    )

    outcomes = _outcomes(paths, tmp_path / "items.npz")

    assert [outcomes[str(path)][0] for path in paths[: len(BASES)]] == ["honest", "honest", "refused"]
    wrong = {path.name: outcomes[str(path)] for path in paths if outcomes[str(path)][0] == "wrong"}
    assert wrong == {}
    damaged = {outcomes[str(path)][0] for path, case in zip(paths, cases, strict=True) if not case.sealed}
    assert damaged == {"refused"}
    by_kind = Counter(
        (case.kind, outcomes[str(path)][0]) for path, case in zip(paths, cases, strict=True) if case.sealed
    )
    # the corpus must bite: forgeries reach ONNX Runtime, and each kind of them is refused at least once
    assert sum(count for (_, result), count in by_kind.items() if result in ("honest", "failed")) >= 50
    assert {kind for kind, result in by_kind if result == "refused"} >= {name for name, _ in _CHANGES}


def _outcomes(paths: list[Path], items: Path) -> dict[str, tuple[str, str]]:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.runtime.fuzz_files", str(items)],
        cwd=Path(__file__).parents[2],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    culprit = paths[len(lines)].name if len(lines) < len(paths) else "nothing"
    assert ran.returncode == 0, f"ended with {ran.returncode} at {culprit}: {ran.stderr[-500:]}"
    return {line["file"]: (line["outcome"], line["why"]) for line in lines}


def _case(generator: Generator) -> Case:
    base = BASES[int(generator.integers(len(BASES)))]
    name, change = _CHANGES[int(generator.integers(len(_CHANGES)))]
    sealed = bool(generator.random() < 0.8)
    changed = change(base[:-TRAILER], generator)
    if changed == base[:-TRAILER]:  # nothing was changed
        changed += b"\0"
    return Case(name, sealed, reseal(changed) if sealed else changed + base[-TRAILER:])


def _flip(body: bytes, generator: Generator) -> bytes:
    """Change some bits, mostly of the graph's structure, because the metadata are after it."""
    changed = bytearray(body)
    for _ in range(int(generator.integers(1, 4))):
        changed[int(generator.integers(len(body)))] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def _set_byte(body: bytes, generator: Generator) -> bytes:
    at = int(generator.integers(len(body)))
    return body[:at] + bytes([int(generator.choice([0, 1, 2, 0x7F, 0x80, 0xFF]))]) + body[at + 1 :]


def _weight(body: bytes, generator: Generator) -> bytes:
    """Change one byte of the numbers of a tensor, which protobuf cannot detect."""
    graph = next(field for field in walk(body, 0, len(body)) if field.number == 7)
    tensors = [field for field in walk(body, graph.value, graph.end) if field.number == 5]
    tensor = tensors[int(generator.integers(len(tensors)))]
    raw = next(field for field in walk(body, tensor.value, tensor.end) if field.number == 9)
    at = int(generator.integers(raw.value, raw.end))
    return body[:at] + bytes([int(generator.integers(256))]) + body[at + 1 :]


def _truncate(body: bytes, generator: Generator) -> bytes:
    return body[: int(generator.integers(len(body)))]


def _hole(body: bytes, generator: Generator) -> bytes:
    at = int(generator.integers(len(body)))
    return body[:at] + body[at + int(generator.integers(1, 40)) :]


def _splice(body: bytes, generator: Generator) -> bytes:
    other = BASES[int(generator.integers(len(BASES)))][:-TRAILER]
    return body[: int(generator.integers(len(body)))] + other[int(generator.integers(len(other))) :]


def _mark(body: bytes, generator: Generator) -> bytes:
    """Bytes 4 to 7, where formats put their marks; sometimes in a way that protobuf reads the rest as before."""
    mark = generator.choice([b"ORTM", b"TFL3", b"ORTN", generator.bytes(4)])
    if generator.random() < 0.5:
        return body[:4] + bytes(mark) + body[8:]
    rest = b"".join(body[field.start : field.end] for field in walk(body, 0, len(body)) if field.number not in (1, 2))
    return varint_field(1, 10) + bytes_field(2, bytes(mark)) + rest


def _rearranged(how: Callable[[list[bytes], Generator], None]) -> Callable[[bytes, Generator], bytes]:
    """Change the list of fields of the model or of a message at any depth."""

    def change(body: bytes, generator: Generator) -> bytes:
        try:
            fields = list(walk(body, 0, len(body)))
        except ModelFileError:  # these bytes are not a message
            return body + b"\x08\x01"
        inner = [
            field for field in fields if field.wire == BYTES and field.number != 14 and field.end - field.value > 1
        ]
        if inner and generator.random() < 0.8:
            field = inner[int(generator.integers(len(inner)))]
            changed = bytes_field(field.number, change(body[field.value : field.end], generator))
            return body[: field.start] + changed + body[field.end :]
        pieces = [body[field.start : field.end] for field in fields]
        how(pieces, generator)
        return b"".join(pieces)

    return change


def _double(pieces: list[bytes], generator: Generator) -> None:
    pieces.insert(int(generator.integers(len(pieces) + 1)), pieces[int(generator.integers(len(pieces)))])


def _remove(pieces: list[bytes], generator: Generator) -> None:
    del pieces[int(generator.integers(len(pieces)))]


def _swap(pieces: list[bytes], generator: Generator) -> None:
    one, other = (int(generator.integers(len(pieces))) for _ in range(2))
    pieces[one], pieces[other] = pieces[other], pieces[one]


def _number(pieces: list[bytes], generator: Generator) -> None:
    """Insert a field with a random number: dimensions, types, attributes."""
    value = int(generator.choice([0, 1, 2, 7, 9, 2**31, 2**62]))
    pieces.insert(int(generator.integers(len(pieces) + 1)), varint_field(int(generator.integers(1, 21)), value))


_CHANGES: tuple[tuple[str, Callable[[bytes, Generator], Any]], ...] = (
    ("flip", _flip),
    ("byte", _set_byte),
    ("weight", _weight),
    ("truncate", _truncate),
    ("hole", _hole),
    ("splice", _splice),
    ("mark", _mark),
    ("double", _rearranged(_double)),
    ("remove", _rearranged(_remove)),
    ("swap", _rearranged(_swap)),
    ("number", _rearranged(_number)),
)
