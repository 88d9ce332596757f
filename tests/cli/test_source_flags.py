"""Each source has its own flags: listed once in the help, refused by the sources that do not have them."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from andon.cli._source_flags import add_source_flags, source_settings
from andon.foundation import registry
from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser
from andon.foundation.settings import Setting, fields
from andon.sources.kinds import images
from andon.sources.source import Source
from andon.sources.stream_settings import NoSettings, StaleAfter

SOURCES: dict[str, Source] = dict(registry.members("andon.sources"))
OWN = {
    name: {setting.name: setting for setting in fields(source.settings) if not setting.is_secret}
    for name, source in SOURCES.items()
}
FLAGS: dict[str, Setting] = {name: setting for own in OWN.values() for name, setting in own.items()}


def parser_of_all() -> FlagParser:
    parser = FlagParser(exit_on_error=False)
    parser.add_argument("--limit", type=int)
    add_source_flags(parser)
    return parser


def words(setting: Setting) -> list[str]:
    """Return the words that give a setting its default. A default of None has no words."""
    if setting.is_switch:
        return [setting.flag if setting.default else setting.flag.replace("--", "--no-", 1)]
    return [] if setting.default is None else [setting.flag, str(setting.default)]


def test_the_flags_of_this_test_are_those_of_folders_recordings_and_cameras() -> None:
    assert {"follow", "settle_s", "poll_s", "speed", "open_timeout_s", "stale_after_s"} <= set(FLAGS)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_refuses_every_flag_of_another_and_says_which_flags_it_has(name: str) -> None:
    foreign = [setting for setting in FLAGS.values() if setting.name not in OWN[name]]
    parser = parser_of_all()

    assert foreign
    for setting in foreign:
        with pytest.raises(
            ConfigError, match=f"^{setting.flag}: expected a flag of the source {name}, which "
        ) as refusal:
            source_settings(SOURCES[name], "the/text", parser.parse_args(words(setting) or [setting.flag, "x"]))
        for own in OWN[name].values():
            assert own.flag in str(refusal.value)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_takes_its_own_flags_and_has_its_defaults_without_them(name: str) -> None:
    given = [word for setting in OWN[name].values() for word in words(setting)]

    for line in ([], given, ["--limit", "3", *given]):
        settings = source_settings(SOURCES[name], "the/text", parser_of_all().parse_args(line))
        assert settings == SOURCES[name].settings()


def test_a_secret_has_no_flag_because_a_flag_is_seen_in_the_list_of_processes() -> None:
    # complaint 25: passwords in logs
    secrets = [setting.flag for setting in fields(SOURCES["mqtt"].settings) if setting.is_secret]

    assert secrets == ["--password"]
    assert "--password" not in parser_of_all().format_help()


def test_a_switch_of_two_sources_with_two_defaults_stays_a_switch() -> None:
    parser = parser_of_all()

    assert source_settings(SOURCES["images"], "folder", parser.parse_args(["--no-follow"])).follow is False
    assert source_settings(SOURCES["logs"], "a.csv", parser.parse_args(["--follow"])).follow is True
    assert source_settings(SOURCES["images"], "folder", parser.parse_args([])).follow is True
    assert source_settings(SOURCES["logs"], "a.csv", parser.parse_args([])).follow is False


def test_a_value_out_of_bounds_names_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--settle-s: expected a number >= 0, got '-1'\."):
        source_settings(images.SOURCE, "folder", parser_of_all().parse_args(["--settle-s=-1"]))


def test_the_help_lists_each_flag_once_under_the_sources_that_have_it() -> None:
    text = parser_of_all().format_help()
    groups = {
        block.partition(":\n")[0]: block.partition(":\n")[2]
        for block in text.split("\n\n")
        if block.startswith("settings of ")
    }

    for name, setting in FLAGS.items():
        owners = sorted(source for source, own in OWN.items() if name in own)
        (title,) = [
            title for title, block in groups.items() if f"  {setting.flag} " in block or f"  {setting.flag}," in block
        ]
        listed = title.removeprefix("settings of ").replace(" and ", ", ").split(", ")
        assert listed == owners, name


# --- sources of other packages ---


class Theirs(Struct, frozen=True, kw_only=True):
    topic: Annotated[str, Meta(description="where frames come from")]
    speed: Annotated[int, Meta(ge=0, description="of the belt", extra={"unit": "mm/s"})] = 20
    limit: Annotated[int, Meta(ge=0, description="of something else")] = 0


def their_source(**how: Any) -> Source:
    return Source(name="theirs", summary="another", accepts=lambda text: text == "theirs", stream=_stream, **how)


def _stream(*_: object) -> Iterator[Any]:
    yield from ()


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Return a source with settings that other sources also have, and with a required setting."""
    source = their_source(settings=Theirs)
    found = [*SOURCES.items(), ("theirs", source)]
    monkeypatch.setattr("andon.cli._source_flags.members", lambda _group: iter(found))
    return source


def test_a_setting_that_must_be_given_is_asked_for(theirs: Source) -> None:
    with pytest.raises(ConfigError, match="expected --topic for the source theirs, got nothing"):
        source_settings(theirs, "theirs", parser_of_all().parse_args([]))
    with_topic = source_settings(theirs, "theirs", parser_of_all().parse_args(["--topic", "belt"]))
    assert with_topic == Theirs(topic="belt")


def test_one_name_for_different_settings_is_one_flag_that_each_source_checks_by_itself(theirs: Source) -> None:
    parser = parser_of_all()

    assert source_settings(theirs, "theirs", parser.parse_args(["--topic=a", "--speed=30"])).speed == 30
    assert source_settings(SOURCES["logs"], "a.csv", parser.parse_args(["--speed=recorded"])).speed == "recorded"
    with pytest.raises(ConfigError, match="--speed: expected an integer"):
        source_settings(theirs, "theirs", parser.parse_args(["--topic=a", "--speed=recorded"]))
    help_text = " ".join(parser.format_help().split())
    assert "settings of logs, power_converter, theirs and video" in help_text
    assert "theirs: of the belt (default: 20)" in help_text


def test_a_setting_named_like_a_flag_of_the_command_is_not_offered_and_said_so(
    theirs: Source, caplog: pytest.LogCaptureFixture
) -> None:
    settings = source_settings(theirs, "theirs", parser_of_all().parse_args(["--topic=a", "--limit=3"]))

    assert settings.limit == 0
    assert "the setting limit of theirs cannot be given on the command line" in caplog.text


def test_a_live_source_must_say_after_how_long_it_is_stale() -> None:
    class Live(Struct, frozen=True, kw_only=True):
        stale_after_s: StaleAfter = 3.0

    assert their_source(settings=Live, live=True).live
    with pytest.raises(
        ConfigError, match="the source 'theirs': expected a setting stale_after_s, because the source is live"
    ):
        their_source(settings=NoSettings, live=True)
