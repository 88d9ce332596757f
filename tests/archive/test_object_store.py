"""Archives in an object store: the rows of the same files on a disk.

The store is the server of moto, an imitation of S3. The tests are skipped where its command is missing: it needs 40 packages, so
`.ci/run` installs it into an environment of its own and names it in ``ANDON_MOTO_SERVER``.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import fs
from tests.archive.one_process import OneProcess

from andon.archive.pack import pack
from andon.archive.results import open_results
from andon.archive.score import Outcome, blocks_done, open_archive, score_archive
from andon.cli import main
from andon.engines.engine import open_engine
from andon.foundation.errors import ConfigError, DataError

SERVER = os.environ.get("ANDON_MOTO_SERVER") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which(SERVER), reason="needs ANDON_MOTO_SERVER, the path of moto_server"),
]

COLUMNS = ["item_id", "status", "reason", "score", "p_value", "label"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([SERVER, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the server of moto did not start")


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path) -> str:
    """Return the options of an address, after the files were stored below ``archive/``."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True)
    store.create_dir("archive")
    packed = pack(pictures, tmp_path / "p.parquet", shard_mb=0.05)
    for path in map(Path, packed.files):
        with store.open_output_stream(f"archive/packed/{path.name}") as stream:
            stream.write(path.read_bytes())
    for path in pictures.rglob("*.png"):
        with store.open_output_stream(f"archive/{path.relative_to(pictures)}") as stream:
            stream.write(path.read_bytes())
    return f"?scheme=http&endpoint_override={endpoint}&region=us-east-1"


def test_tables_in_a_store_have_the_rows_of_the_folder(
    bucket: str, frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    score_archive(open_archive(frame_model, str(pictures), tmp_path / "disk"), OneProcess())
    wanted = open_results(tmp_path / "disk").table(COLUMNS).sort_by("item_id").to_pylist()

    for name, address in (("all", "s3://archive/packed"), ("some", "s3://archive/packed/p-*.parquet")):
        score_archive(open_archive(frame_model, address + bucket, tmp_path / name), OneProcess())
        assert open_results(tmp_path / name).table(COLUMNS).sort_by("item_id").to_pylist() == wanted


def test_pictures_in_a_store_are_judged_by_processes_of_their_own(
    bucket: str, frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    with open_engine("local", workers=2) as engine:
        outcome = score_archive(
            open_archive(frame_model, f"s3://archive/good{bucket}", tmp_path / "out", block_rows=6), engine
        )

    assert (outcome.complete, outcome.counts.rows, outcome.counts.invalid) == (True, 20, 0)
    uris = open_results(tmp_path / "out").table(["uri"]).column(0).to_pylist()
    assert uris[:2] == ["s3://archive/good/0.png", "s3://archive/good/1.png"]


def test_the_options_of_the_address_are_not_in_the_results(bucket: str, frame_model: Path, tmp_path: Path) -> None:
    score_archive(open_archive(frame_model, f"s3://archive/bright{bucket}", tmp_path / "out"), OneProcess())

    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"endpoint_override" not in path.read_bytes()


def test_an_object_that_changed_after_planning_fails_its_block(
    bucket: str, endpoint: str, frame_model: Path, tmp_path: Path
) -> None:
    archive = open_archive(frame_model, f"s3://archive/good{bucket}", tmp_path / "out")
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
    with store.open_output_stream("archive/good/3.png") as stream:
        stream.write(b"another content")

    (failed,) = score_archive(archive, OneProcess()).failed

    assert "s3://archive/good/3.png: expected the file as it was when the blocks were planned" in failed.error


def test_an_object_that_was_replaced_by_one_of_equal_size_fails_its_block(
    bucket: str, endpoint: str, frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    archive = open_archive(frame_model, f"s3://archive/good{bucket}", tmp_path / "out", block_rows=4)
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
    time.sleep(1.1)  # the store states times in whole seconds
    with store.open_output_stream("archive/good/3.png") as stream:
        stream.write((pictures / "good/3.png").read_bytes())

    outcome = score_archive(archive, OneProcess())

    assert [one.error.split(":")[0] for one in outcome.failed] == ["s3"]
    assert outcome.judged == 4


def test_an_empty_prefix_is_refused(bucket: str, frame_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected Parquet files or pictures below this address"):
        open_archive(frame_model, f"s3://archive/absent{bucket}", tmp_path / "out")


# Results in a store: the same rows as on a disk, and the same rules.


def rows_at(place: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = open_results(place).table(COLUMNS).sort_by("item_id").to_pylist()
    return found


def test_results_in_a_store_are_those_of_a_disk_and_the_same_command_judges_nothing(
    bucket: str, frame_model: Path, pictures: Path, tmp_path: Path
) -> None:
    out = f"s3://archive/out/one{bucket}"
    score_archive(open_archive(frame_model, str(pictures), tmp_path / "disk", block_rows=7), OneProcess())
    with open_engine("local", workers=2) as engine:
        first = score_archive(open_archive(frame_model, str(pictures), out, block_rows=7), engine)
    again = open_archive(frame_model, str(pictures), out, block_rows=7)

    assert blocks_done(again) == 5
    second = score_archive(again, OneProcess())
    assert (first.judged, first.complete, second.judged, second.before) == (5, True, 0, 5)
    assert rows_at(out) == rows_at(str(tmp_path / "disk"))
    assert open_results(out).folder == "s3://archive/out/one"
    assert open_results(out).manifest.blocks == open_results(tmp_path / "disk").manifest.blocks


def test_a_stopped_run_continues_and_a_damaged_block_is_judged_again(
    bucket: str, endpoint: str, frame_model: Path, pictures: Path
) -> None:
    out = f"s3://archive/out/stopped{bucket}"
    archive = open_archive(frame_model, str(pictures), out, block_rows=7)
    score_archive(archive, OneProcess(), limit_blocks=2)
    assert not open_results(out).manifest.complete
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
    key = next(archive.tasks()).key
    with store.open_input_file(f"archive/out/stopped/blocks/{key}.parquet") as stream:
        data = stream.read()
    with store.open_output_stream(f"archive/out/stopped/blocks/{key}.parquet") as stream:
        stream.write(data[: len(data) // 2])

    outcome = score_archive(archive, OneProcess())

    assert (outcome.judged, outcome.before, outcome.complete) == (4, 1, True)
    assert len(rows_at(out)) == 31


def test_a_missing_block_in_a_store_is_an_error_of_the_reader(
    bucket: str, endpoint: str, frame_model: Path, pictures: Path
) -> None:
    out = f"s3://archive/out/missing{bucket}"
    score_archive(open_archive(frame_model, str(pictures), out), OneProcess())
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
    (block,) = open_results(out).manifest.blocks
    store.delete_file(f"archive/out/missing/blocks/{block.key}.parquet")

    with pytest.raises(DataError, match=r"s3://archive/out/missing/blocks/\w+\.parquet: expected the block that"):
        open_results(out).table()


def test_another_plan_and_other_objects_in_a_store_are_refused(bucket: str, frame_model: Path, pictures: Path) -> None:
    out = f"s3://archive/out/plan{bucket}"
    score_archive(open_archive(frame_model, str(pictures), out), OneProcess())

    with pytest.raises(ConfigError, match="got s3://archive/out/plan with another one"):
        score_archive(open_archive(frame_model, str(pictures), out, block_rows=7), OneProcess())
    with pytest.raises(
        ConfigError, match="expected a new folder or one with results, got s3://archive/good with other files"
    ):
        score_archive(open_archive(frame_model, str(pictures), f"s3://archive/good{bucket}"), OneProcess())


def test_two_runs_into_one_place_at_once_give_whole_results(bucket: str, frame_model: Path, pictures: Path) -> None:
    # pyarrow has no conditional writes. Both runs write the same bytes under the same names
    out = f"s3://archive/out/two{bucket}"

    def run() -> Outcome:
        with open_engine("local", workers=1) as engine:
            return score_archive(open_archive(frame_model, str(pictures), out, block_rows=4), engine)

    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(run), pool.submit(run)])

    assert first.complete
    assert second.complete
    assert len(rows_at(out)) == 31


def test_results_within_an_input_of_the_same_store_are_refused(bucket: str, frame_model: Path) -> None:
    for address in ("s3://archive/good", "s3://archive/good/*.png"):
        with pytest.raises(ConfigError, match="expected a folder outside of the input, got s3://archive/good/out"):
            open_archive(frame_model, address + bucket, f"s3://archive/good/out{bucket}")


def test_a_bucket_that_does_not_exist_is_an_error_and_no_block_is_judged(
    bucket: str, frame_model: Path, pictures: Path
) -> None:
    with pytest.raises(ConfigError, match=r"s3://absent-bucket/out/_plan\.json: cannot be written"):
        score_archive(open_archive(frame_model, str(pictures), f"s3://absent-bucket/out{bucket}"), OneProcess())


def test_an_audit_reads_the_store(
    bucket: str, frame_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"s3://archive/out/audit{bucket}"
    assert main(["score", str(frame_model), str(pictures), "--out", out, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("s3://archive/out/audit")
    assert "endpoint_override" not in printed

    code = main(["audit", out, "--false-reject", "0.5"])

    assert code == 0
    assert "20 good parts, from 31 rows" in capsys.readouterr().out


def test_an_audit_of_a_place_without_results_is_an_error(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", f"s3://archive/nothing{bucket}"]) == 2
    assert "s3://archive/nothing: expected _manifest.json" in capsys.readouterr().err
