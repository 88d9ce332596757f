"""Set the threshold of a model file by hand. The file then states that it promises nothing."""

import math

import numpy as np
from msgspec import structs

from andon.foundation.errors import ConfigError
from andon.runtime import __version__
from andon.runtime.model_file.format import LogEntry, Tail, append_log, parse, seal


def set_threshold(data: bytes, threshold: float, *, date: str, reason: str) -> bytes:
    """Return the file with this threshold, labelled as set by a person. Promise, review band and drift limits are removed.

    Args:
        data: a calibrated model file.
        threshold: the new threshold, in the units of the score. A part with a higher score is REJECT.
        date: ISO date for the log.
        reason: reason for the log, not empty.

    Raises:
        ConfigError: the threshold is not a finite float32 number, or there is no reason.
    """
    if not math.isfinite(threshold) or abs(threshold) > float(np.finfo(np.float32).max):
        raise ConfigError(f"--set: expected a finite number, got {threshold!r}.")
    if not reason.strip():
        raise ConfigError("--reason: expected the reason for a threshold by hand, got none. The file's log keeps it.")
    model = parse(data)
    calibration = model.card.calibration
    assert calibration is not None  # `parse` refuses blank files
    value = float(np.float32(threshold))
    reached = int((model.tail_x <= np.float32(value)).sum())
    above = round(float(model.tail_p[reached]) * (calibration.n + 1)) - 1
    by_hand = structs.replace(
        calibration,
        kind="manual",
        above=max(above, 0),
        date=date,
        shift=None,
        review=None,
        misses=None,
        audits=(),
        drift=None,
    )
    entry = LogEntry(
        date=date,
        andon=str(__version__),
        kind="manual",
        alpha=by_hand.alpha,
        confidence=by_hand.confidence,
        n=by_hand.n,
        above=by_hand.above,
        threshold=value,
        part_keys_sha256=by_hand.part_keys_sha256,
        previous="",
        reason=reason.strip(),
    )
    return seal(
        data,
        card=structs.replace(model.card, calibration=by_hand),
        golden=model.golden,
        log=append_log(model.log, entry),
        tail=Tail(threshold=value, review=value, x=model.tail_x, p=model.tail_p),
    )
