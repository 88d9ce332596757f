"""The allowed protocols hold only for captures opened in the context, because the host program may have its own captures."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from andon.sources.opencv import Protocols, allowed_protocols, opencv
from andon.training.animation.encode import write_mp4

NETWORK: Protocols = "http,https,tcp,tls,crypto,httpproxy"
VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_mp4(tmp_path / "a.mp4", [np.full((40, 64, 3), 120, np.uint8)] * 3, 5)
    return tmp_path / "a.mp4"


def opens(video: Path) -> bool:
    cv2: Any = opencv()
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    try:
        return bool(capture.isOpened())
    finally:
        capture.release()


def test_a_capture_of_the_process_itself_opens_a_file_after_ours_opened_a_camera(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with allowed_protocols(NETWORK):
        assert not opens(video)

    assert opens(video)
    with allowed_protocols("file"):
        assert opens(video)


def test_options_that_were_set_stay_come_before_ours_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "stimeout;5000000|protocol_whitelist;file,http")
    with allowed_protocols(NETWORK), allowed_protocols(NETWORK):
        within = os.environ[VARIABLE]

    assert within.startswith("stimeout;5000000|")
    assert within.endswith(f"|protocol_whitelist;{NETWORK}")
    assert os.environ[VARIABLE] == "stimeout;5000000|protocol_whitelist;file,http"


def test_they_come_back_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "stimeout;5000000")
    with pytest.raises(KeyError), allowed_protocols(NETWORK):
        raise KeyError

    assert os.environ[VARIABLE] == "stimeout;5000000"


def test_an_opening_with_other_protocols_waits_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "stimeout;5000000")
    seen: list[str] = []

    def other() -> None:
        with allowed_protocols("file"):
            seen.append(os.environ[VARIABLE])

    thread = threading.Thread(target=other)
    with allowed_protocols(NETWORK):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert not seen
    thread.join(10)

    assert not thread.is_alive()
    assert seen == ["stimeout;5000000|rtsp_transport;tcp|protocol_whitelist;file"]
