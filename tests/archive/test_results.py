"""A folder of results: what is written comes back, and only what the manifest names."""

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.hand_made import FRAME, model_bytes

from andon.archive.columns import NUMBERS, SCHEMA, WORDS, Facts, Row, schema
from andon.archive.results import (
    Counts,
    Identity,
    Manifest,
    block_path,
    existing_block,
    identity_in,
    identity_of,
    open_results,
    write_block,
    write_manifest,
)
from andon.foundation.errors import DataError
from andon.runtime.detector import Detector

NAN = float("nan")


@pytest.fixture(scope="module")
def identity() -> Identity:
    return identity_of(Detector.from_bytes(model_bytes(FRAME, threshold=0.25)))


def rows(count: int = 3, *, first: int = 0) -> list[Row]:
    good = [
        Row(
            facts=Facts(
                item_id=f"{number:06}",
                uri=f"/archive/{number}.png",
                captured_at=datetime(2026, 11, 1, 0, 0, number % 60, tzinfo=UTC),
                line="L1",
                part_id=None,
                lot="A",
                label="good",
            ),
            status="REJECT" if number % 10 == 9 else "OK",
            reason="",
            detail="",
            score=number / 7,
            level=number / 3,
            p_value=0.5,
            threshold=0.25,
        )
        for number in range(first, first + count - 1)
    ]
    lost = Row(
        facts=Facts(item_id=f"{first + count - 1:06}"),
        status="INVALID",
        reason="unreadable",
        detail="damaged PNG",
        score=NAN,
        level=NAN,
        p_value=NAN,
        threshold=0.25,
    )
    return [*good, lost]


def written(folder: Path, identity: Identity, *keys: str) -> None:
    entries = [write_block(folder, key, rows(first=10 * at), identity) for at, key in enumerate(keys)]
    head = Manifest(plan="p", input="in/", complete=True, identity=identity, counts=Counts(rows=3 * len(keys)))
    write_manifest(folder, head, entries)


def test_rows_come_back_with_their_columns(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0", "k1")

    results = open_results(tmp_path)
    table = results.table()

    assert table.schema.equals(schema())
    assert table.column("item_id").to_pylist() == ["000000", "000001", "000002", "000010", "000011", "000012"]
    assert table.column("block").to_pylist() == ["k0"] * 3 + ["k1"] * 3
    assert table.column("captured_at").to_pylist()[1] == datetime(2026, 11, 1, 0, 0, 1, tzinfo=UTC)
    assert table.column("score").to_pylist()[1] == float(np.float32(1 / 7))
    assert set(table.column("model_sha256").to_pylist()) == {identity.model.sha256}


def test_what_was_not_judged_is_null_with_its_reason(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0")

    last = open_results(tmp_path).table().to_pylist()[-1]

    assert (last["status"], last["reason"], last["detail"]) == ("INVALID", "unreadable", "damaged PNG")
    assert [last[name] for name in ("score", "level", "p_value", "label", "map")] == [None] * 5


def test_only_wanted_columns_are_read(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0")

    assert open_results(tmp_path).table(["score", "status"]).column_names == ["score", "status"]


def test_a_file_that_the_manifest_does_not_name_is_not_read(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0")
    write_block(tmp_path, "older", rows(), identity)

    assert open_results(tmp_path).table().num_rows == 3


def test_the_footer_states_what_judged(tmp_path: Path, identity: Identity) -> None:
    entry = write_block(tmp_path, "k0", rows(), identity)

    found = identity_in(tmp_path, "k0")

    assert found == identity
    assert found.promise is not None
    assert found.versions.keys() == {"andon", "numpy", "onnxruntime"}
    assert entry.counts == Counts(rows=3, rejects=0, reviews=0, invalid=1)
    metadata = pq.read_metadata(block_path(tmp_path, "k0")).metadata
    assert metadata[b"andon.schema"] == SCHEMA.encode()


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, identity: Identity) -> None:
    first = write_block(tmp_path / "a", "k0", rows(), identity)
    second = write_block(tmp_path / "b", "k0", rows(), identity)

    assert first == second
    assert block_path(tmp_path / "a", "k0").read_bytes() == block_path(tmp_path / "b", "k0").read_bytes()
    assert existing_block(tmp_path / "a", "k0") == first


def test_columns_have_the_encodings_that_make_small_files(tmp_path: Path, identity: Identity) -> None:
    write_block(tmp_path, "k0", rows(200), identity)

    group = pq.read_metadata(block_path(tmp_path, "k0")).row_group(0)
    encodings = {group.column(at).path_in_schema: group.column(at).encodings for at in range(group.num_columns)}

    assert "DELTA_BYTE_ARRAY" in encodings["item_id"]
    assert all("BYTE_STREAM_SPLIT" in encodings[name] for name in NUMBERS)
    assert all("RLE_DICTIONARY" in encodings[name] for name in WORDS)
    assert {group.column(at).compression for at in range(group.num_columns)} == {"ZSTD"}


def test_a_damaged_block_does_not_count_as_written(tmp_path: Path, identity: Identity) -> None:
    write_block(tmp_path, "k0", rows(), identity)
    path = block_path(tmp_path, "k0")
    path.write_bytes(path.read_bytes()[:-20])

    assert existing_block(tmp_path, "k0") is None
    assert existing_block(tmp_path, "absent") is None


def test_a_block_whose_file_was_copied_over_another_one_is_refused_and_does_not_count_as_written(
    tmp_path: Path, identity: Identity
) -> None:
    written(tmp_path, identity, "k0", "k1")
    shutil.copy(block_path(tmp_path, "k0"), block_path(tmp_path, "k1"))

    assert existing_block(tmp_path, "k0") is not None
    assert existing_block(tmp_path, "k1") is None
    for columns in (None, ["score"], ["block"]):
        with pytest.raises(DataError, match=r"k1\.parquet: expected the rows of this block, got those of the block k0"):
            open_results(tmp_path).table(columns)


@pytest.mark.parametrize("rejects", [1, -1, 10**30])
def test_a_block_whose_footer_counts_other_rows_does_not_count_as_written(
    tmp_path: Path, identity: Identity, rejects: int
) -> None:
    write_block(tmp_path, "k0", rows(), identity)
    path = block_path(tmp_path, "k0")
    table = pq.read_table(path)
    counts = json.dumps({"rows": 3, "rejects": rejects, "reviews": 0, "invalid": 1}).encode()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"andon.counts": counts}), path)

    assert existing_block(tmp_path, "k0") is None


@given(where=st.floats(0.02, 1), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_a_block_that_counts_as_written_can_be_read(identity: Identity, where: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written(folder, identity, "k0")
        path = block_path(folder, "k0")
        data = bytearray(path.read_bytes())
        data[min(int(where * len(data)), len(data) - 1)] ^= 1 << bit
        path.write_bytes(data)

        # otherwise the remedy of a reader, "run the same command again", would change nothing
        if existing_block(folder, "k0") is not None:
            assert open_results(folder).table().num_rows == 3


@pytest.mark.parametrize("key", ["../../elsewhere/k0", "/etc/k0", "k0\n", ""])
def test_a_manifest_cannot_name_a_file_outside_of_its_folder(tmp_path: Path, identity: Identity, key: str) -> None:
    written(tmp_path / "out", identity, "k0")
    manifest = tmp_path / "out/_manifest.json"
    manifest.write_text(manifest.read_text().replace('"key":"k0"', f'"key":{json.dumps(key)}'))

    with pytest.raises(DataError, match=r"_manifest\.json: expected a manifest of results, got another content"):
        open_results(tmp_path / "out")


def test_a_block_that_is_named_twice_is_refused_because_it_would_count_twice(
    tmp_path: Path, identity: Identity
) -> None:
    written(tmp_path, identity, "k0", "k0")

    with pytest.raises(DataError, match="expected each block once"):
        open_results(tmp_path)


def test_a_manifest_with_deep_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_manifest.json").write_text('{"x":' + "[" * 100_000 + "]" * 100_000 + "}")

    with pytest.raises(DataError, match="expected a manifest of results, got another content"):
        open_results(tmp_path)


def test_a_block_that_is_missing_is_reported_with_the_remedy(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0", "k1")
    block_path(tmp_path, "k1").unlink()

    with pytest.raises(DataError, match=r"k1\.parquet: expected the block .* Run the same 'andon score' command again"):
        open_results(tmp_path).table()


def test_a_pipe_in_place_of_a_block_is_reported_instead_of_waiting_for_it(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0")
    block_path(tmp_path, "k0").unlink()
    os.mkfifo(block_path(tmp_path, "k0"))

    assert existing_block(tmp_path, "k0") is None
    with pytest.raises(DataError, match=r"k0\.parquet: expected the block .* is not a regular file"):
        open_results(tmp_path).table()


def test_a_folder_without_a_manifest_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Give the folder of --out"):
        open_results(tmp_path)
    (tmp_path / "_plan.json").write_text("{}")
    with pytest.raises(DataError, match="Run the same 'andon score' command again until it ends"):
        open_results(tmp_path)


def test_a_manifest_of_a_later_schema_is_refused(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity, "k0")
    path = tmp_path / "_manifest.json"
    path.write_text(path.read_text().replace("andon.results/1", "andon.results/2"))

    with pytest.raises(DataError, match=r"expected the schema andon\.results/1, got 'andon.results/2'"):
        open_results(tmp_path)


def test_results_without_rows_have_all_columns(tmp_path: Path, identity: Identity) -> None:
    written(tmp_path, identity)

    assert open_results(tmp_path).table().schema.equals(schema())
