"""`andon check` warns about settings that are allowed but can let strangers in. Complaint 26."""

import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.monitor.web.pages import ACT, VIEW, protected

from andon.cli import EXIT_DONE, main
from andon.foundation.secret import Secret
from andon.monitor.web.risks import access_text, web_risks
from andon.monitor.web.settings import WebSettings, check_web
from andon.monitor.web.token_files import settings_lines, write_tokens

pytestmark = pytest.mark.usefixtures("tokens")


@pytest.mark.parametrize(
    "settings",
    [
        WebSettings(),
        protected(),
        protected(behind_proxy=True),
        protected(host="10.0.0.5", tls_cert="cert.pem", tls_key="key.pem"),
    ],
    ids=["default", "tokens", "proxy", "tls"],
)
def test_settings_as_the_documentation_shows_them_have_no_risk(settings: WebSettings) -> None:
    assert web_risks(settings) == ()


def test_a_port_next_to_its_proxy_is_a_risk() -> None:
    settings = protected(host="10.0.0.5", behind_proxy=True)
    check_web(settings)

    assert [risk.partition(". ")[0] for risk in web_risks(settings)] == ["10.0.0.5 can be reached without the proxy"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_on_all_networks_is_a_risk(host: str) -> None:
    risks = web_risks(protected(host=host, tls_cert="c", tls_key="k", allowed_hosts=("line1.example",)))

    assert [risk.partition(", ")[0] for risk in risks] == ["the server listens on all networks of this machine"]


@pytest.mark.parametrize(("token", "risky"), [("abcabcabc" * 3, True), ("1" * 32, True), (VIEW, False)])
def test_a_token_that_does_not_look_random_is_a_risk_and_is_not_shown(
    token: str, risky: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_TEST_VIEW", token)
    risks = web_risks(protected())

    assert bool(risks) is risky
    assert token not in str(risks)


def test_a_token_that_cannot_be_read_is_left_to_the_check_itself() -> None:
    assert web_risks(replace(protected(), act_token=Secret(env="ANDON_TEST_ABSENT"))) == ()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_a_token_file_that_others_can_replace_is_a_risk(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    settings = WebSettings(act_token=Secret(file=str(write_tokens(folder)["act_token"])))
    assert web_risks(settings) == ()
    for mode, risky in ((0o770, True), (0o707, True), (0o755, False), (0o1777, False)):
        folder.chmod(mode)
        assert [risk.startswith("act_token: other users can replace files in") for risk in web_risks(settings)] == (
            [True] if risky else []
        )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (WebSettings(), "everyone on this machine can view; acting is switched off"),
        (WebSettings(act_token=Secret(env="X")), "everyone on this machine can view; acting needs the act token"),
        (protected(host="10.0.0.5"), "viewing needs a token; acting needs the act token"),
    ],
)
def test_the_check_describes_who_can_do_what(settings: WebSettings, text: str) -> None:
    assert access_text(settings) == text


def test_a_warning_is_shown_and_does_not_change_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_TEST_ACT", "x" * 40)
    file = tmp_path / "line.toml"
    assert main(["init", str(file)]) == EXIT_DONE
    # `andon init` writes nothing secret
    assert not any(word in file.read_text(encoding="utf-8") for word in ("_token", VIEW, ACT))
    lines = settings_lines(write_tokens(tmp_path / "secrets")).splitlines()
    web = [*lines[:2], 'act_token = { env = "ANDON_TEST_ACT" }', "port = 0", ""]
    file.write_text(file.read_text(encoding="utf-8") + "\n" + "\n".join(web), encoding="utf-8")
    capsys.readouterr()

    assert main(["check", str(file)]) == EXIT_DONE
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("web: ")]
    assert shown == [
        "web: ok: 127.0.0.1: a free port is chosen at the start; viewing needs a token; acting needs the act token",
        "web: WARNING: act_token does not look random. Make one with: andon token FOLDER",
    ]
    assert main(["check", str(file), "--json"]) == EXIT_DONE
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["subject"], last["ok"], last["warning"]) == ("web", True, True)
