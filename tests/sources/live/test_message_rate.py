"""One message per sample at a high rate is warned about, before and while it happens."""

import json

import pytest

from andon.runtime.schema import Channel, FrameSpec, WindowSpec
from andon.sources.live.message_rate import MessageRate, advice

LINE = json.dumps({"t": 1.0, "values": {"voltage": 1.5}})


@pytest.mark.parametrize(("rate_hz", "samples", "warnings"), [(1000, 1, 1), (1000, 50, 0), (100, 1, 0)])
def test_one_message_per_sample_at_a_high_rate_is_warned_about_once(rate_hz: int, samples: int, warnings: int) -> None:
    rate, payload = MessageRate(), "\n".join([LINE] * samples).encode()
    texts = [rate.count(payload, number / rate_hz) for number in range(20 * rate_hz)]

    assert len([text for text in texts if text]) == warnings
    assert all(f"{rate_hz} messages per second" in text for text in texts if text)


@pytest.mark.parametrize(("period_s", "text"), [(0.001, "1000 samples of each channel per second"), (0.0051, "")])
def test_a_model_file_for_a_high_rate_gives_advice_on_blocks(period_s: float, text: str) -> None:
    spec = WindowSpec(steps=4, hop=2, period_s=period_s, channels=(Channel(name="voltage"),))

    assert text in advice(spec)
    assert bool(advice(spec)) == bool(text)


def test_a_model_file_for_frames_gives_no_advice() -> None:
    assert advice(FrameSpec(channels=3, size=(8, 8))) == ""
