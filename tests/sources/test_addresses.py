"""No secret of an address reaches a message, for all forms of addresses and all functions that may refuse one."""

import contextlib
import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import hand_made

from andon.cli import main
from andon.foundation.errors import AndonError
from andon.runtime.schema import Channel, FrameSpec, WindowSpec
from andon.sources.addresses import redact, shown_address
from andon.sources.kinds import images
from andon.sources.opening import good_for, labelled_for, open_for, shown, truth_of
from andon.sources.source import collect, find
from andon.sources.truth import tree_truth
from andon.sources.unique_keys import key_prefixes

FRAMES = FrameSpec(channels=3, size=(8, 8))
WINDOWS = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="b"),))
MARK = "S3CRET"

awkward = st.text(alphabet="aB1/?#@[]%:;&= .-", max_size=6)
secrets = st.builds(lambda before, after: f"{MARK}{before}{MARK}{after}{MARK}", awkward, awkward)
schemes = st.sampled_from(["rtsp", "rtsps", "http", "HTTPS", "rtmp", "ftp", "x-cam+1"])
hosts = st.sampled_from(["10.0.0.7", "cam.local:554", "[fe80::1]:554"])
addresses = st.one_of(
    st.builds("{}://admin:{}@{}/live".format, schemes, secrets, hosts),
    st.builds("{}://{}@{}".format, schemes, secrets, hosts),
    st.builds("{}://{}/live?user=admin&token={}".format, schemes, hosts, secrets),
    st.builds("{}://{}/live#{}".format, schemes, hosts, secrets),
    st.builds("{}://admin:{}@{}/live?token={}".format, schemes, secrets, hosts, secrets),
    st.builds("{}:/admin:{}@{}/live".format, schemes, secrets, hosts),
    st.builds("admin:{}@{}/live".format, secrets, hosts),
)
"""Addresses with and without a scheme, as pathlib rewrites them, and with the secret in user, password, query or fragment."""


@given(addresses)
def test_no_form_of_address_shows_its_secret(address: str) -> None:
    assert MARK not in redact(address)
    assert MARK not in shown_address(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://admin:secret@cam:554/live", "rtsp://***@cam:554/live"),
        ("rtsp://cam/live", "rtsp://cam/live"),
        ("http://cam/video?user=a&pwd=secret", "http://cam/video?***"),
        ("rtsp://admin:se@cr/et@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:se@cr/et?#@cam/live", "rtsp://***"),  # the text after the last @ could be the end of a token
        ("rtsp:/admin:secret@cam/live", "rtsp:/***@cam/live"),
        ("0", "0"),
        ("folder/a@b.png", "folder/a@b.png"),
        (r"C:\parts\a@b.png", r"C:\parts\a@b.png"),
        ("mnist:normal=0,root=data", "mnist:normal=0,root=data"),
    ],
)
def test_addresses_are_shown_without_user_info_query_and_fragment(address: str, expected: str) -> None:
    assert redact(address) == expected


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "find": find,
    "collect": collect,
    "open_for frames": lambda text: open_for(text, FRAMES),
    "open_for windows": lambda text: open_for(text, WINDOWS),
    "labelled_for frames": lambda text: labelled_for(text, FRAMES),
    "labelled_for windows": lambda text: labelled_for(text, WINDOWS),
    "good_for": lambda text: good_for(text, FRAMES),
    "truth_of": truth_of,
    "tree_truth": lambda text: tree_truth(Path(text)),
    "key_prefixes": lambda text: key_prefixes([text, "x"], FRAMES),
    "images.collect": images.collect,
    "shown": shown,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=15)
@given(address=addresses)
def test_no_function_that_opens_an_address_shows_its_secret(name: str, address: str) -> None:
    try:
        text = str(FUNCTIONS[name](address))
    except AndonError as error:
        text = str(error)
    assert MARK not in text


@pytest.mark.parametrize(
    "address",
    [
        f"rtsp://admin:{MARK}@10.0.0.7/live",
        f"rtsp://admin:{MARK}[x@10.0.0.7/live",
        f"rtmp://admin:{MARK}@10.0.0.7/live?token={MARK}",
        f"http://10.0.0.7/live?token={MARK}",
        f"admin:{MARK}@10.0.0.7/live",
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["score", "MODEL", "ADDRESS"],
        ["score", "MODEL", "ADDRESS", "other"],
        ["evaluate", "MODEL", "--data", "ADDRESS"],
        ["train", "pixel_knn", "--data", "ADDRESS", "--out", "RUN"],
        ["train", "pixel_knn", "--data", "ADDRESS", "--normal", "0", "--out", "RUN"],
        ["train", "pixel_knn", "--data", "GOOD", "--watch", "ADDRESS", "--out", "RUN"],
        ["compare", "--detectors", "pixel_knn", "--data", "ADDRESS", "--out", "RUN"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-4:-2]),
)
def test_no_command_shows_the_secret_of_an_address_that_it_refuses(
    command: list[str], address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model.onnx").write_bytes(hand_made.model_bytes(hand_made.FRAME))
    words = {
        "MODEL": str(tmp_path / "model.onnx"),
        "ADDRESS": address,
        "RUN": str(tmp_path / "run"),
        "GOOD": str(tmp_path),
    }
    out, err = io.StringIO(), io.StringIO()

    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), caplog.at_level(logging.INFO):
        code = main([words.get(word, word) for word in command])

    assert code == 2
    assert "Traceback" not in err.getvalue()
    assert MARK not in out.getvalue() + err.getvalue() + caplog.text
