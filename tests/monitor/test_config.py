"""The configuration of lines: what a file gives, and what is refused with the full path of the key."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from tests.foundation.plug_ins import install

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.foundation.registry import load
from andon.foundation.secret import Secret
from andon.foundation.settings import fields
from andon.monitor.config import ChosenSource, Line, Policy, configuration_from_table, read_configuration
from andon.monitor.sinks import json_lines, pictures
from andon.sources.kinds import camera, images
from andon.sources.live.folder_watch import FollowSettings

FULL = """
[[line]]
name = "press-3"
model = "washers.onnx"
threads = 2
frame_size = "any"
health = true
alarm = "3/5"

[line.source]
kind = "images"
path = "incoming"
settle_s = 1

[[line.sinks]]
kind = "json_lines"
path = "verdicts.jsonl"

[[line.sinks]]
kind = "pictures"
folder = "/var/rejects"
max_pictures = 5
"""
CAMERA = """
[[line]]
name = "a"
model = "m.onnx"
source = {{ kind = "camera", address = {} }}
"""
CANARY = "canary-7f3a"


def parsed(text: str, folder: str = "plant") -> tuple[Line, ...]:
    return configuration_from_table(tomllib.loads(text), folder=Path(folder), at="line.toml").lines


def test_a_file_gives_typed_settings_and_paths_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "line.toml").write_text(FULL, encoding="utf-8")

    assert read_configuration(tmp_path / "line.toml").lines == (
        Line(
            name="press-3",
            model=str(tmp_path / "washers.onnx"),
            source=ChosenSource(images.SOURCE, str(tmp_path / "incoming"), FollowSettings(settle_s=1.0)),
            sinks=(
                msgspec.structs.replace(
                    _sink("json_lines"), settings=json_lines.Settings(path=str(tmp_path / "verdicts.jsonl"))
                ),
                msgspec.structs.replace(
                    _sink("pictures"), settings=pictures.Settings(folder="/var/rejects", max_pictures=5)
                ),
            ),
            policy=Policy(threads=2, frame_size="any", health=True, alarm="3/5"),
        ),
    )


def _sink(kind: str):  # type: ignore[no-untyped-def]
    from andon.monitor.sink import ChosenSink

    return ChosenSink(load("andon.sinks", kind), None)


def test_without_sinks_the_verdicts_go_to_stdout_and_stdout_is_not_a_path() -> None:
    for sinks in ("", 'sinks = [{ kind = "json_lines", path = "-" }]'):
        (line,) = parsed(f'[[line]]\nname = "a"\nmodel = "m.onnx"\nsource = {{ kind = "stdin" }}\n{sinks}')

        assert [sink.settings.path for sink in line.sinks] == ["-"]
        assert line.source.text() == "-"


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "line.toml").write_bytes(b"\xef\xbb\xbf" + FULL.encode())

    assert read_configuration(tmp_path / "line.toml").lines[0].name == "press-3"


REFUSED = [
    ("", "line.toml: line: expected at least one table [[line]], got nothing."),
    ("[line]\n", "line.toml: line: expected at least one table [[line]], got a table."),
    ("[[lines]]\n", "line.toml: top level.lines: unknown key (did you mean 'line'?)."),
    ("[[line]]\n", "line[0].name: expected a short name of the line"),
    ('[[line]]\nname = "a b"\n', "line[0].name: expected 1 to 64 letters, digits, - or _, got 'a b'."),
    ('[[line]]\nname = "a"\n', 'line[0].model: expected the path of a model file, for example model = "washers.onnx"'),
    ('[[line]]\nname = "a"\nmodel = "m"\n', "line[0].source: expected a table [line.source], got nothing."),
    (FULL.replace('kind = "images"', ""), 'line[0].source.kind: expected a kind of source, for example kind = "images"'),
    (FULL.replace('"images"', '"image"'), "line[0].source.kind: there is no source 'image' (did you mean 'images'?)."),
    (FULL.replace('path = "incoming"', ""), "line[0].source.path: expected the path of a folder of pictures"),
    (FULL.replace("path =", "address ="), "line[0].source.address: unknown key"),
    (FULL.replace("settle_s = 1", "settle_s = -1"), "line[0].source.settle_s: expected a number >= 0, got -1."),
    (FULL.replace("settle_s = 1", "settle_s = inf"), "line[0].source.settle_s: expected a finite number >= 0, got inf."),
    (FULL.replace("settle_s = 1", "fps_ = 1"), "line[0].source.fps_: unknown key. Known: kind, path, follow,"),
    (FULL.replace("threads = 2", "threads = 65"), "line[0].threads: expected an integer from 1 to 64, got 65."),
    (FULL.replace("threads = 2", 'threads = "2"'), "line[0].threads: expected an integer from 1 to 64, got '2'."),
    (FULL.replace('"3/5"', '"5/3"'), "line[0].alarm: expected 1 <= k <= n <= 10000, got k = 5, n = 3. Example: 3/5."),
    (FULL.replace("health = true", "health = 1"), "line[0].health: expected"),
    (FULL.replace('"any"', '"all"'), "line[0].frame_size: expected one of any, calibrated, or none, got 'all'"),
    (FULL.replace("threads = 2", "thread = 2"), "line[0].thread: unknown key (did you mean 'threads'?)."),
    (FULL.replace("threads = 2", '"my key" = 2'), 'line[0]."my key": unknown key'),
    (FULL.replace('"pictures"', '"picture"'), "line[0].sinks[1].kind: there is no sink 'picture' (did you mean"),
    (FULL.replace("max_pictures = 5", "max_picture = 5"), "line[0].sinks[1].max_picture: unknown key (did you mean 'max_p"),
    (FULL.replace("max_pictures = 5", "max_pictures = 0"), "line[0].sinks[1].max_pictures: expected an integer >= 1, got 0."),
    (FULL + FULL, "line.toml: line[1].name: expected a name of its own, got 'press-3' again."),
    ('[[line]]\nname = "a"\nmodel = "m"\nsource = { kind = "stdin" }\nsinks = []', "line[0].sinks: expected at least one table"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_a_mistake_is_refused_with_the_path_of_the_key(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parsed(text)

    assert why in str(refusal.value)
    assert str(refusal.value).startswith("line.toml: ")


TABLES = {
    "": {"name", "model", "source", "sinks", *(setting.name for setting in fields(Policy))},
    ".source": {"kind", "path", *(setting.name for setting in fields(FollowSettings))},
    ".sinks[1]": {setting.name for setting in fields(pictures.Settings)},
}


@given(place=st.sampled_from(sorted(TABLES)), data=st.data())
def test_a_misspelt_key_is_refused_with_its_path_and_the_nearest_key(place: str, data: st.DataObject) -> None:
    known = data.draw(st.sampled_from(sorted(TABLES[place])))
    at = data.draw(st.integers(0, len(known)))
    wrong = known[:at] + data.draw(st.sampled_from("_xq7")) + known[at:]
    table = tomllib.loads(FULL)
    line = table["line"][0]
    {"": line, ".source": line["source"], ".sinks[1]": line["sinks"][1]}[place][wrong] = 1

    with pytest.raises(ConfigError) as refusal:
        configuration_from_table(table, folder=Path(), at="f")
    assert str(refusal.value).startswith(f"f: line[0]{place}.{wrong}: unknown key (did you mean {known!r}?). Known: ")


@given(
    place=st.sampled_from(sorted(TABLES)),
    key=st.text(min_size=1),
    value=st.sampled_from([CANARY, [CANARY], {"a": CANARY}]),
)
def test_any_unknown_key_is_refused_on_one_line_without_its_value(place: str, key: str, value: object) -> None:
    table = tomllib.loads(FULL)
    line = table["line"][0]
    if key in {*TABLES[place], "kind"}:
        return
    {"": line, ".source": line["source"], ".sinks[1]": line["sinks"][1]}[place][key] = value

    with pytest.raises(ConfigError, match="unknown key") as refusal:
        configuration_from_table(table, folder=Path(), at="f")
    assert str(refusal.value).startswith(f"f: line[0]{place}.")
    assert str(refusal.value).isprintable()
    assert CANARY not in str(refusal.value).replace(key, "")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "path", "env", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(place=st.sampled_from(["", *sorted(TABLES)]), data=st.data(), value=VALUES)
def test_any_value_of_a_known_key_gives_a_line_or_an_error_on_one_line(
    place: str, data: st.DataObject, value: object
) -> None:
    table = tomllib.loads(FULL)
    line = table["line"][0]
    key = data.draw(st.sampled_from(sorted({*TABLES[place], "kind"} if place else TABLES[place])))
    {"": line, ".source": line["source"], ".sinks[1]": line["sinks"][1]}[place][key] = value
    if data.draw(st.integers(0, 20)) == 0:
        table["line"] = value
    refused = ""
    try:
        (line,) = configuration_from_table(table, folder=Path("plant"), at="f").lines
    except ConfigError as error:
        refused = str(error)
    assert refused.startswith("f: line") or isinstance(line, Line)
    assert printable(refused, limit=10_000) == refused


def test_the_character_that_no_path_can_contain_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"line\.toml: line\[0\]\.sinks\[1\]\.folder: expected text without .* U\+0000"
    ):
        parsed(FULL.replace("/var/rejects", "/var/\\u0000"))


@pytest.mark.parametrize(
    "content",
    [f'password = "{CANARY}', f'a = 1\na = "{CANARY}"', f'"{CANARY}" = 1\n"{CANARY}" = 1', f"{CANARY} {CANARY}\n"],
)
def test_a_file_that_is_not_toml_is_refused_with_the_place_and_without_its_content(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "line.toml").write_text(content, encoding="utf-8")

    with pytest.raises(ConfigError, match=r"line.toml: expected TOML: .*\(at (line \d|end of document)") as refusal:
        read_configuration(tmp_path / "line.toml")
    assert CANARY not in str(refusal.value)
    assert refusal.value.__cause__ is refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\xff", "not UTF-8"), (b"a=" + b"[" * 5000, "nested"), (b"#" * 1_048_577, "at most 1048576 bytes")],
)
def test_a_file_that_is_not_text_or_too_large_or_too_deep_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "line.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=why):
        read_configuration(tmp_path / "line.toml")


def test_a_missing_file_is_refused_and_the_command_that_writes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no\.toml: cannot be read: No such file or directory. 'andon init' writes an example"
    ):
        read_configuration(tmp_path / "no.toml")


def test_several_lines_are_read_and_each_name_is_used_once() -> None:
    lines = parsed(FULL + FULL.replace("press-3", "press-4").replace("verdicts", "more").replace("rejects", "other"))

    assert [line.name for line in lines] == ["press-3", "press-4"]
    with pytest.raises(ConfigError, match=r"line\[1\]\.name: expected a name of its own, got 'press-3' again"):
        parsed(FULL + FULL)


@pytest.mark.parametrize(
    "address",
    [
        f"rtsp://user:{CANARY}@cam/line",
        f"user:{CANARY}@cam/line",
        f"rtsp://user:{CANARY}/?@cam",
        f"http://cam/live?access_token={CANARY}",
        f"http://cam/live?id=3&PASSWORD={CANARY}",
    ],
)
def test_a_password_or_token_in_an_address_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"line\[0\].source.address: expected an address without a password or token"
    ) as refusal:
        parsed(CAMERA.format(f'"{address}"'))
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize("address", ["rtsp://cam:554/line1", "http://cam/live?id=3&monkey=2", "camera:1"])
def test_an_address_without_a_secret_is_text(address: str) -> None:
    assert parsed(CAMERA.format(f'"{address}"'))[0].source.text() == address


@pytest.mark.parametrize("wrong", ["5", f'{{ value = "{CANARY}" }}', f'{{ env = "not {CANARY}" }}', '""', "{ }"])
def test_an_address_of_another_type_is_refused_without_showing_it(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"line\[0\].source.address: expected text, or a secret as") as refusal:
        parsed(CAMERA.format(wrong))
    assert CANARY not in str(refusal.value)


def test_a_secret_address_is_read_when_the_source_opens_and_shown_by_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"rtsp://user:{CANARY}@cam/line"
    monkeypatch.setenv("ANDON_TEST_URL", url)
    (tmp_path / "url").write_text(url + "\n", encoding="utf-8")
    for text, place in (('{ env = "ANDON_TEST_URL" }', "ANDON_TEST_URL"), ('{ file = "url" }', str(tmp_path / "url"))):
        (line,) = parsed(CAMERA.format(text), str(tmp_path))

        assert line.source.text() == url
        assert line.source.shown.endswith(place)
        assert CANARY not in repr(line)


@pytest.mark.parametrize("value", [CANARY, f"power_converter:{CANARY}=rtsp://x", "0"])
def test_a_secret_address_that_is_not_a_url_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ANDON_TEST_URL", value)
    source = ChosenSource(camera.SOURCE, Secret(env="ANDON_TEST_URL"), camera.Settings())

    with pytest.raises(ConfigError, match="ANDON_TEST_URL: expected a URL") as refusal:
        source.require_accepted()
    assert CANARY not in str(refusal.value)


def test_a_source_of_the_short_form_shows_no_password() -> None:
    assert CANARY not in repr(ChosenSource(camera.SOURCE, f"rtsp://user:{CANARY}@cam/line", camera.Settings()))


def test_a_path_without_data_is_refused_when_the_line_starts_and_not_when_the_file_is_read(tmp_path: Path) -> None:
    (line,) = parsed(FULL, str(tmp_path))

    with pytest.raises(DataError, match="incoming: expected a folder of pictures"):
        line.source.require_accepted()


class _LoginSettings(Struct, frozen=True, kw_only=True):
    password: Annotated[Secret, Meta(description="of the server")]


def test_the_secret_file_of_a_sink_is_relative_to_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from andon.monitor.config import _in_folder

    settings = _in_folder(_LoginSettings(password=Secret(file="token")), Path("plant"))

    assert settings.password == Secret(file=str(Path("plant/token")))


def test_a_source_that_has_no_stream_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = "Source(name='vault', summary='old data', accepts=lambda text: True)"
    module = f"from andon.sources.source import Source\nSOURCE = {record}\n"
    install(tmp_path, "their_vault", "andon.sources", "vault = their_vault:SOURCE", module)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        ConfigError, match=r"line\[0\]\.source\.kind: a vault source cannot be monitored\. Use 'andon score'"
    ):
        parsed(FULL.replace('"images"', '"vault"'))
