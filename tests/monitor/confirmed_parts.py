"""An event store with questions about windows of the example, and their answers. For tests of the recalibration."""

import random
from collections.abc import Sequence
from pathlib import Path

from tests.monitor.outcomes import some_outcome
from tests.monitor.some_event import some_event

from andon.monitor.event import Answer, Confirmed, Sampled
from andon.monitor.records import record
from andon.monitor.store import Settings
from andon.monitor.store_writer import StoreWriter
from andon.runtime.items import Ref
from andon.runtime.schema import Status
from andon.runtime.verdict import Verdict
from andon.sources.clock import SystemClock


def answered_store(folder: Path, model: str, answers: Sequence[Answer | None], *, line: str = "example") -> StoreWriter:
    """Return a store with one question for each answer. Scores are those of the example. Close it at the end.

    Args:
        folder: the state folder.
        model: short digest of the model file.
        answers: the answers, oldest question first.
        line: name of the line.
    """
    store = StoreWriter(Settings(path=str(folder), ballast_bytes=1 << 18), SystemClock())
    scores = random.Random(0)
    for seq, answer in enumerate(answers, 1):
        verdict = Verdict(status=Status.OK, score=scores.gauss(2.6, 0.7), threshold=6.1, model=model)
        ref = Ref(key=f"window {seq}")
        body = Sampled(verdict=record(some_outcome(seq, ref=ref, verdict=verdict)), one_in=20)
        store.put(some_event(body, line=line, model=model), ())
        if answer is not None:
            number = seq + sum(one is not None for one in answers[: seq - 1])  # a question, then its answer
            store.put(some_event(Confirmed(item=ref.key, truth=answer, by="Ana", event=number), line=line), ())
    assert store.flush(20.0)
    return store
