"""Bounded fuzzing of the code that reads foreign files: it returns or raises our errors, without a crash or much memory."""

import contextlib
import io
import json
import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from andon.evaluation.verdict_log import read_verdicts
from andon.foundation.errors import AndonError, DataError
from andon.sources.kinds import logs
from andon.sources.pictures.decode import decode
from andon.sources.pictures.header import parse, require_whole
from andon.sources.truth import table_truth

pytestmark = pytest.mark.fuzz

MOST_BYTES = 32_000_000
"""Memory limit for reading a header, in bytes. The files have a few kilobytes."""


def written(kind: str, mode: str = "RGB", **options: object) -> bytes:
    rows, columns = np.mgrid[0:40, 0:56]
    rgb = np.stack([rows * 5, columns * 4, rows + columns], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(file, kind, **options)
    return file.getvalue()


PICTURES = {
    "JPEG": written("JPEG"),
    "JPEG progressive": written("JPEG", progressive=True),
    "JPEG grey": written("JPEG", "L"),
    "JPEG CMYK": written("JPEG", "CMYK"),
    "PNG": written("PNG"),
    "PNG palette": written("PNG", "P"),
    "BMP": written("BMP"),
    "BMP palette": written("BMP", "P"),
    "TIFF": written("TIFF"),
    "TIFF LZW": written("TIFF", compression="tiff_lzw"),
    "TIFF deflate": written("TIFF", compression="tiff_adobe_deflate"),
    "TIFF grey": written("TIFF", "L", compression="packbits"),
    "WebP": written("WEBP"),
    "WebP lossless": written("WEBP", lossless=True),
    "WebP alpha": written("WEBP", "RGBA", exact=True),
}
EDGES = [
    bytes.fromhex(text) for text in ("00", "ff", "7f", "80", "ffffffff", "00000000", "7fffffff", "ffffff7f", "80000000")
]


def mutants(data: bytes, seed: int, count: int, *, head: int = 200) -> Iterator[bytes]:
    """Yield damaged copies: bytes are changed, removed, doubled or inserted, mostly near the beginning."""
    draw = random.Random(seed)
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
            at = draw.randrange(min(head, len(mutant)) if draw.random() < 0.8 else len(mutant)) if mutant else 0
            kind = draw.randrange(6)
            if kind == 0:
                mutant[at : at + 1] = bytes([draw.randrange(256)])
            elif kind == 1:
                edge = draw.choice(EDGES)
                mutant[at : at + len(edge)] = edge
            elif kind == 2:
                del mutant[at : at + draw.choice([1, 2, 4, 50, 10_000])]
            elif kind == 3:
                mutant[at:at] = mutant[at : at + draw.choice([1, 4, 12, 64])] * draw.choice([1, 2, 30])
            elif kind == 4:
                mutant[at:at] = draw.randbytes(draw.choice([1, 2, 8]))
            else:
                mutant[at : at + 4] = struct.pack(
                    draw.choice(["<I", ">I"]), draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])
                )
        yield bytes(mutant)


def answered(read: Callable[[], object]) -> None:
    """Accept a normal return or one of our own errors; every other exception fails."""
    with contextlib.suppress(AndonError):
        read()


def looked_at(data: bytes) -> None:
    found = parse(data)
    assert found.height >= 1
    assert found.width >= 1
    require_whole(data, found.kind)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_damaged_header_is_read_or_refused_with_little_memory(kind: str) -> None:
    tracemalloc.start()
    try:
        for data in mutants(PICTURES[kind], seed=1, count=3000):
            answered(lambda data=data: looked_at(data))  # type: ignore[misc]
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", PICTURES)
def test_a_damaged_picture_is_decoded_or_refused(kind: str) -> None:
    for data in mutants(PICTURES[kind], seed=2, count=800, head=400):
        try:
            found = parse(data)
        except DataError:
            continue
        if found.height * found.width < 500_000:  # larger ones take time and show nothing more
            answered(lambda data=data: decode(data))  # type: ignore[misc]


LOG = (
    "time,pressure,flow,label\n"
    + "".join(f"2026-01-01T00:00:{row:02d},{row * 0.1:.2f},{row * 2},{row % 2}\n" for row in range(12))
).encode()
SECONDS = ("t;pressure;flow\n" + "".join(f'{row};"{row * 0.1:.2f}";\n' for row in range(12))).encode()
WORDS = [
    *(
        b'"',
        b'""',
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b" ",
        b"T",
        b"Z",
        b"-",
        b"+02:00",
        b"time",
        b"label",
        b"true",
    ),
    *(
        b"nan",
        b"inf",
        b"-inf",
        b"1e999",
        b"1e19",
        b"-1e300",
        b"0x10",
        b"1_0",
        b"9" * 400,
        b"9" * 140_000,
        b"2026-13-45",
        b"2026-01-01",
    ),
    *(b"\xff", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xd9\xa1"),
]


def texts(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    draw = random.Random(seed)
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(draw.choice([1, 1, 2, 5])):
            at = draw.randrange(len(mutant) + 1)
            kind = draw.randrange(4)
            if kind == 0:
                mutant[at:at] = draw.choice(WORDS)
            elif kind == 1:
                del mutant[at : at + draw.choice([1, 3, 20, 200])]
            elif kind == 2:
                word = draw.choice(WORDS)
                mutant[at : at + len(word)] = word
            else:
                mutant[at:at] = mutant[at : at + draw.choice([1, 10, 60])]
        yield bytes(mutant)


@pytest.mark.parametrize("data", [LOG, SECONDS], ids=["dates", "seconds"])
def test_a_damaged_log_is_read_or_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for text in texts(data, seed=3, count=1500):
        path.write_bytes(text)
        answered(lambda: logs.collect(str(path)))


def test_a_damaged_table_of_truth_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    table = b"key,label,kind\n" + b"".join(b"%d.png,%s,dent\n" % (row, [b"good", b"bad"][row % 2]) for row in range(20))
    for text in texts(table, seed=4, count=3000):
        path.write_bytes(text)
        answered(lambda: table_truth(path))


def test_damaged_verdicts_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    lines = [
        {"item": f"{row}.png", "status": "OK", "reason": "", "score": row / 10, "level": 0.1, "p_value": 0.5,
         "threshold": 4.0, "model": "abc123", "part": f"{row}", "time_s": 1.5}
        for row in range(5)
    ]  # fmt: skip
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    more = [
        b"{",
        b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"null",
        b"1e999",
        b"-0",
        b'"\\ud800"',
        b"\\u0000",
        b"9" * 5000,
    ]
    draw = random.Random(5)
    for text in texts(data, seed=5, count=2000):
        at = draw.randrange(len(text) + 1)
        path.write_bytes(text if draw.random() < 0.5 else text[:at] + draw.choice(more) + text[at:])
        answered(lambda: read_verdicts(path))
