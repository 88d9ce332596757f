"""Warn about samples that arrive one by one at a high rate. A message costs far more CPU time than a sample in a block."""

from andon.runtime.schema import InputSpec, WindowSpec

EXPENSIVE_HZ = 200.0
"""Messages per second above which one message per sample is worth a warning."""
_RATE_OVER_S = 5.0


def advice(spec: InputSpec) -> str:
    """Return advice on the messages for a model file. Empty for frames and for a low rate. Sources use it as `Source.advice`.

    >>> from andon.runtime.schema import Channel
    >>> spec = WindowSpec(steps=4, hop=2, period_s=0.001, channels=(Channel(name="voltage"),))
    >>> advice(spec).partition(":")[0]
    'the model file needs 1000 samples of each channel per second'
    """
    if not isinstance(spec, WindowSpec) or spec.period_s * EXPENSIVE_HZ > 1.0:
        return ""
    return (
        f"the model file needs {1 / spec.period_s:.0f} samples of each channel per second: send blocks of samples, because one "
        "message per sample costs far more CPU time"
    )


class MessageRate:
    """Notices that a sender uses one message per sample at a high rate. Time is an argument."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._messages = 0
        self._warned = False

    def count(self, payload: bytes, now_s: float) -> str:
        """Count a message. Return a warning once, if the rate was too high for some seconds and this message is one sample."""
        if self._warned:
            return ""
        if self._since_s is None:
            self._since_s = now_s
        self._messages += 1
        took_s = now_s - self._since_s
        if took_s < _RATE_OVER_S:
            return ""
        rate_hz = self._messages / took_s
        self._since_s, self._messages = now_s, 0
        if rate_hz < EXPENSIVE_HZ or payload.strip().count(b"\n"):
            return ""
        self._warned = True
        return (
            f"{rate_hz:.0f} messages per second arrive. A message costs far more CPU time than a sample. Send blocks, such as "
            '{"t": [12.300, 12.301], "values": {"voltage": [48.1, 48.0]}}'
        )
