"""No spelling of a revealed secret stays in a text. Complaint 25: masked passwords were printed again in their decoded form."""

import base64
import json
import threading
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from andon.foundation import redaction
from andon.foundation.redaction import HIDDEN, LONGEST, MOST, SHORTEST, Redactor
from andon.foundation.secret import Secret

CANARY = "p@ss wörd/7%\"'\\&+#"


def lower_hex(text: str) -> str:
    return urllib.parse.quote(text, safe="").replace("%2F", "%2f")


def every_character(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def every_second_character(text: str) -> str:
    return "".join(urllib.parse.quote(one, safe="") if at % 2 else one for at, one in enumerate(text))


SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    urllib.parse.quote,
    urllib.parse.quote_plus,
    lower_hex,
    every_character,
    every_second_character,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: ascii(text)[1:-1],
    lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
]
IDS = ["raw", "upper", "quote", "quote_plus", "lower_hex", "all", "some", "json", "json_utf8", "repr", "ascii", "twice"]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=IDS)
def test_a_secret_is_removed_in_each_spelling(spelling: Callable[[str], str]) -> None:
    redactor = Redactor()
    redactor.register(CANARY)

    assert redactor.redact(f"cannot open <{spelling(CANARY)}>: refused") == f"cannot open <{HIDDEN}>: refused"


@pytest.mark.parametrize("spelling", SPELLINGS, ids=IDS)
def test_a_secret_that_was_given_percent_encoded_is_removed_in_each_spelling(spelling: Callable[[str], str]) -> None:
    redactor = Redactor()
    redactor.register(urllib.parse.quote(CANARY, safe=""))

    assert redactor.redact(f"<{spelling(CANARY)}>") == f"<{HIDDEN}>"
    assert redactor.redact(f"<{spelling(urllib.parse.quote(CANARY, safe=''))}>") == f"<{HIDDEN}>"


secrets = st.text(st.characters(codec="utf-8"), min_size=SHORTEST, max_size=40).filter(
    lambda text: len(text.strip()) >= SHORTEST and len(text.splitlines()) == 1 and set(text) - {"*"}
)


@given(secrets, st.sampled_from(SPELLINGS), st.text(max_size=20), st.text(max_size=20))
@example("000ß", str.upper, "", "")
@example("%41%41%41%41", str, "", "")
@example("a\\nb", SPELLINGS[9], "", "")
def test_no_spelling_of_any_secret_stays(secret: str, spelling: Callable[[str], str], before: str, after: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    secret = secret.strip()

    left = redactor.redact(f"{before}{spelling(secret)}{after}")

    assert spelling(secret) not in left
    assert secret not in left


@given(st.text(st.characters(exclude_characters="@:/"), max_size=60))
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    redactor = Redactor()
    redactor.register("another secret 4711")

    assert redactor.redact(text) == text


@pytest.mark.parametrize(
    "leak",
    [
        "rtsp://admin:s3cret-pw@10.0.0.7/live",
        "user admin:s3cret-pw",
        "password s3cret-pw",
        "password s3cret%2Dpw",
        base64.b64encode(b"admin:s3cret-pw").decode(),
        "opening ?token=t0ken-xyz&fps=5",
        "t0ken-xyz",
        "GET /hooks/T000/B000?token=t0ken-xyz",
    ],
)
def test_the_secret_parts_of_an_address_are_removed_where_they_stand_alone(leak: str) -> None:
    redactor = Redactor()
    redactor.register("rtsp://admin:s3cret-pw@10.0.0.7/hooks/T000/B000?token=t0ken-xyz&fps=5")

    left = redactor.redact(leak)

    assert all(part not in left for part in ("s3cret", "t0ken", "/hooks", base64.b64encode(b"s3cret").decode()[:6]))
    assert redactor.redact("fps=5 live 10.0.0.7 admin") == "fps=5 live 10.0.0.7 admin"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("open rtsp://a:b@host/x now", f"open rtsp://{HIDDEN}@host/x now"),
        ("open rtsp://a:p/w?d#@host/x", f"open rtsp://{HIDDEN}@host/x"),
        ("open rtsp:/a:b@host", f"open rtsp:/{HIDDEN}@host"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {HIDDEN}"),
        ("{'authorization': 'Basic YTpi'}", f"{{'authorization': 'Basic {HIDDEN}'}}"),
        (r"C:\data@line\a.png and a@b.example", r"C:\data@line\a.png and a@b.example"),
        ("http://host/metrics", "http://host/metrics"),
    ],
)
def test_user_info_and_authorization_are_removed_without_a_registered_secret(text: str, left: str) -> None:
    assert Redactor().redact(text) == left


def test_each_line_of_a_private_key_is_removed() -> None:
    redactor = Redactor()
    redactor.register("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcw\n")

    assert redactor.redact("error near 9w0BAQEFAASCBKcw in key") == f"error near {HIDDEN} in key"


def test_a_long_secret_is_removed_as_a_whole() -> None:
    redactor = Redactor()
    redactor.register("k" * LONGEST + "tail" * 1000)

    assert redactor.redact("x " + "k" * LONGEST + "tail" * 1000 + " y") == f"x {HIDDEN} y"


def test_a_very_short_text_is_not_removed_because_it_is_part_of_many_words() -> None:
    redactor = Redactor()
    redactor.register("abc")

    assert redactor.redact("abcde") == "abcde"


def test_a_rotated_secret_does_not_fill_the_memory() -> None:
    redactor = Redactor()
    for number in range(MOST + 5):
        redactor.register(f"token-{number:05}")

    assert repr(redactor) == f"Redactor({MOST} values)"
    assert redactor.redact(f"token-{MOST + 4:05}") == HIDDEN


def test_registering_while_another_thread_redacts_loses_nothing() -> None:
    redactor = Redactor()
    redactor.register("canary-7f3a")
    seen: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(redactor.redact("canary-7f3a"))

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(50):
        redactor.register(f"other-{number}")
    over.set()
    thread.join()

    assert set(seen) <= {HIDDEN}


def test_a_secret_is_removed_from_the_moment_it_is_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_TEST_SECRET", "canary-redaction-51")

    Secret(env="ANDON_TEST_SECRET").reveal()

    assert redaction.redact("got canary-redaction-51") == f"got {HIDDEN}"
    assert "canary" not in repr(redaction.REVEALED)
