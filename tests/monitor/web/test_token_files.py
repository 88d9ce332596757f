"""`andon token` makes two random tokens that only their owner can read, and never prints them."""

import os
import stat
import tomllib
from pathlib import Path

import pytest
from tests.sources.fake_clock import FakeClock

from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table
from andon.monitor.web.access import AccessControl
from andon.monitor.web.settings import WebSettings, act_token, check_web, view_token
from andon.monitor.web.token_files import settings_lines, write_tokens

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_printed_lines_are_settings_with_which_the_server_can_start(tmp_path: Path) -> None:
    paths = write_tokens(tmp_path / 'a "folder" \\ with ü')
    table = tomllib.loads(settings_lines(paths))["web"]
    settings = from_table(WebSettings, table, at="web")

    check_web(settings)
    assert AccessControl(settings, FakeClock()).can_log_in
    view, act = view_token(settings), act_token(settings)
    assert view is not None
    assert act is not None
    assert view != act
    assert len(view) == len(act) == 32  # 128 random bits in hexadecimal digits


@posix
def test_files_and_a_new_folder_are_closed_to_others_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        paths = write_tokens(tmp_path / "new" / "secrets")
    finally:
        os.umask(before)

    assert [mode(path) for path in paths.values()] == [0o600, 0o600]
    assert mode(tmp_path / "new" / "secrets") == 0o700
    assert sorted(path.name for path in (tmp_path / "new" / "secrets").iterdir()) == ["act-token", "view-token"]


@pytest.mark.parametrize("name", ["view-token", "act-token"])
def test_existing_tokens_are_kept_without_force(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=rf"{name}: expected a new name, got an existing file"):
        write_tokens(tmp_path)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_with_force_both_tokens_are_new(tmp_path: Path) -> None:
    texts = set()
    for _ in range(3):
        texts |= {path.read_text() for path in write_tokens(tmp_path, replace=True).values()}
    assert len(texts) == 6


@posix
def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "secrets"
    target.write_text("precious")
    folder.mkdir()
    (folder / "view-token").symlink_to(target)
    (folder / "act-token").symlink_to(tmp_path / "nowhere")

    with pytest.raises(ConfigError, match="expected a new name"):
        write_tokens(folder)
    paths = write_tokens(folder, replace=True)
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert not any(path.is_symlink() for path in paths.values())


@posix
def test_a_folder_in_which_others_can_replace_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(
        ConfigError, match=r"expected a folder that only its owner can change, got mode 0777\. Run: chmod go-w"
    ):
        write_tokens(folder)
    assert list(folder.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_one_line_of_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")

    assert main(["token", str(tmp_path / "file")]) == EXIT_USER
    assert capsys.readouterr().err == f"andon: {tmp_path / 'file'}: cannot be written: File exists.\n"


def test_the_command_prints_the_lines_and_not_the_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "secrets"

    assert main(["token", str(folder)]) == EXIT_DONE
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        f"written     {folder}/view-token",
        f"written     {folder}/act-token",
        "",
        "Put these lines into the file of the line:",
        "",
        "[web]",
        f'view_token = {{ file = "{folder}/view-token" }}',
        f'act_token = {{ file = "{folder}/act-token" }}',
    ]
    for path in folder.iterdir():
        assert path.read_text().strip() not in out
    assert main(["token", str(folder)]) == EXIT_USER
    assert main(["token", str(folder), "--force"]) == EXIT_DONE
