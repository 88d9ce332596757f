"""An open port is safe or is refused. Complaint 26: ports that were meant for internal use ended up exposed."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.monitor.web.conftest import Certificate

from andon.foundation.errors import ConfigError
from andon.foundation.secret import Secret
from andon.foundation.settings import fields, from_table
from andon.monitor.web.settings import SHORTEST_TOKEN, WebSettings, check_web, tls_context, view_token

TOKEN = "0123456789abcdef" * 2
posix = pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("ANDON_TEST_VIEW", TOKEN)
    return Secret(env="ANDON_TEST_VIEW")


def test_the_defaults_are_reached_from_this_machine_only_and_need_nothing() -> None:
    check_web(WebSettings())

    assert WebSettings().is_loopback
    assert WebSettings().known_hosts == {"localhost", "127.0.0.1", "[::1]"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "line1.example", "::ffff:10.0.0.5"])
def test_an_address_that_others_reach_is_refused_without_a_token(host: str) -> None:
    with pytest.raises(
        ConfigError, match=r"\[web\].host: .* can be reached from other machines: expected a token, got none"
    ):
        check_web(WebSettings(host=host))


def test_a_token_alone_is_refused_because_it_would_be_sent_in_the_clear(token: Secret) -> None:
    with pytest.raises(ConfigError, match="expected TLS, got none"):
        check_web(WebSettings(host="10.0.0.5", view_token=token))


def test_a_token_with_tls_or_a_proxy_is_accepted(token: Secret, certificate: Certificate) -> None:
    cert, key = map(str, certificate)
    check_web(WebSettings(host="10.0.0.5", view_token=token, tls_cert=cert, tls_key=key))
    check_web(WebSettings(host="10.0.0.5", view_token=token, behind_proxy=True))
    check_web(WebSettings(host="0.0.0.0", view_token=token, behind_proxy=True, allowed_hosts=("line1.example",)))


def test_a_proxy_or_tls_does_not_replace_the_token(certificate: Certificate) -> None:
    cert, key = map(str, certificate)
    for settings in (
        WebSettings(host="10.0.0.5", behind_proxy=True),
        WebSettings(host="10.0.0.5", tls_cert=cert, tls_key=key),
    ):
        with pytest.raises(ConfigError, match="expected a token"):
            check_web(settings)


def test_an_address_for_all_interfaces_needs_the_names_of_the_server(token: Secret) -> None:
    with pytest.raises(ConfigError, match=r"\[web\].allowed_hosts: expected the names"):
        check_web(WebSettings(host="0.0.0.0", view_token=token, behind_proxy=True))


def test_the_own_address_is_a_known_host() -> None:
    assert "10.0.0.5" in WebSettings(host="10.0.0.5").known_hosts
    assert "[fd00::5]" in WebSettings(host="fd00::5").known_hosts
    assert "0.0.0.0" not in WebSettings(host="0.0.0.0").known_hosts


@pytest.mark.parametrize("name", ["*", "", "http://a", "a/b", "a b", "user@a"])
def test_a_name_that_is_not_a_host_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"web: allowed_hosts: expected host names"):
        from_table(WebSettings, {"allowed_hosts": [name]}, at="web")


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ConfigError, match=r"expected tls_cert and tls_key, got tls_cert only\. Add tls_key"):
        check_web(WebSettings(tls_cert="cert.pem"))
    with pytest.raises(ConfigError, match=r"got tls_key only\. Add tls_cert"):
        check_web(WebSettings(tls_key="key.pem"))


def test_files_that_are_no_certificate_are_refused_when_the_settings_are_checked(
    tmp_path: Path, certificate: Certificate
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    empty.chmod(0o600)
    encrypted = tmp_path / "encrypted.pem"
    command = ["openssl", "ec", "-in", str(certificate.key), "-aes256", "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    encrypted.chmod(0o600)

    for cert, key in (
        (tmp_path / "no", empty),
        (empty, empty),
        (certificate.cert, empty),
        (certificate.cert, encrypted),
    ):
        with pytest.raises(ConfigError, match="expected a PEM certificate and its key without a password"):
            check_web(WebSettings(tls_cert=str(cert), tls_key=str(key)))


def test_old_versions_of_tls_are_not_offered(certificate: Certificate) -> None:
    context = tls_context(WebSettings(tls_cert=str(certificate.cert), tls_key=str(certificate.key)))

    assert context is not None
    assert context.minimum_version.name == "TLSv1_2"


@pytest.mark.parametrize(
    "value", ["short", "x" * (SHORTEST_TOKEN - 1), "with a space in the middle of it", "ünïcödeünïcödeünïcöde"]
)
def test_a_weak_or_unusable_token_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_TEST_VIEW", value)

    with pytest.raises(ConfigError, match="expected at least 22 printable ASCII characters") as refusal:
        check_web(WebSettings(view_token=Secret(env="ANDON_TEST_VIEW")))

    assert value not in str(refusal.value)


@posix
def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    settings = WebSettings(view_token=Secret(file=str(path)))

    for mode in (0o640, 0o604, 0o666):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"only its owner can read, got mode {mode:04o}. Run: chmod 600"):
            check_web(settings)
    path.chmod(0o600)
    check_web(settings)
    assert view_token(settings) == TOKEN.encode()


@posix
def test_a_key_file_that_others_can_read_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(certificate.key.read_bytes())
    key.chmod(0o644)

    with pytest.raises(ConfigError, match=r"tls_key: .*only its owner can read, got mode 0644"):
        check_web(WebSettings(tls_cert=str(certificate.cert), tls_key=str(key)))


@posix
def test_a_credential_of_systemd_may_have_a_group_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "view-token"
    path.write_text(TOKEN)
    path.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    check_web(WebSettings(view_token=Secret(file=str(path))))


def test_a_replaced_token_is_used_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    settings = WebSettings(view_token=Secret(file=str(path)))
    view_token(settings)
    path.write_text(TOKEN.upper())

    assert view_token(settings) == TOKEN.upper().encode()


def test_a_proxy_on_this_machine_makes_the_server_reachable_and_needs_a_token(token: Secret) -> None:
    with pytest.raises(
        ConfigError, match=r"\[web\].behind_proxy: other machines can reach the server through the proxy"
    ):
        check_web(WebSettings(behind_proxy=True))
    check_web(WebSettings(behind_proxy=True, view_token=token))


def test_both_tokens_are_checked_and_must_differ(token: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_TEST_ACT", "short")
    settings = WebSettings(view_token=token, act_token=Secret(env="ANDON_TEST_ACT"))
    with pytest.raises(ConfigError, match=r"\[web\].act_token: .*expected at least 22 printable ASCII characters"):
        check_web(settings)
    monkeypatch.setenv("ANDON_TEST_ACT", TOKEN)
    with pytest.raises(ConfigError, match=r"\[web\].act_token: expected another token than view_token") as refusal:
        check_web(settings)
    assert TOKEN not in str(refusal.value)
    monkeypatch.setenv("ANDON_TEST_ACT", TOKEN[::-1])
    check_web(settings)


def test_an_act_token_does_not_replace_the_view_token_for_other_machines(token: Secret) -> None:
    with pytest.raises(ConfigError, match="expected a token, got none"):
        check_web(WebSettings(host="10.0.0.5", behind_proxy=True, act_token=token))


def test_each_setting_can_be_described_and_read_from_a_table() -> None:
    assert [setting.name for setting in fields(WebSettings)] == list(WebSettings.__struct_fields__)
    table = {"port": 0, "allowed_hosts": ["a:1"], "view_token": {"env": "X"}}
    assert from_table(WebSettings, table, at="web") == WebSettings(
        port=0, allowed_hosts=("a:1",), view_token=Secret(env="X")
    )


def test_a_literal_token_in_the_file_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"web.view_token: expected a secret as .* got text") as refusal:
        from_table(WebSettings, {"view_token": TOKEN}, at="web")

    assert TOKEN not in str(refusal.value)


def test_questions_that_nobody_could_answer_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[web\]\.confirm_one_in: expected act_token too"):
        check_web(WebSettings(confirm_one_in=20))
