"""Judge the files named on stdin and print one JSON line per file with its outcome. The fuzz test runs this process.

    python -m tests.runtime.fuzz_files ITEMS.npz < paths

``refused``: `ModelFileError` during loading or at the first item. ``honest``: judged, with exactly the results of ONNX Runtime
for the model that the onnx package reads from the same bytes. For this the bytes are read by protobuf, written again as plain
ONNX and opened as ONNX. ``failed``: `JudgeError`, and the other way fails too. Everything else is ``wrong``, with the reason.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from tests.runtime.judge_files import bound_memory

from andon.runtime import Detector, JudgeError, ModelFileError


def outcome(data: bytes, items: Mapping[str, np.ndarray[Any, Any]]) -> tuple[str, str]:
    """Return the outcome for one file, and the reason."""
    try:
        detector = Detector.from_bytes(data, frame_size="any")
        got = [
            (int(verdict.status), int(verdict.reason), verdict.score, verdict.threshold, verdict.p_value)
            for verdict in detector.batch(list(items[detector.card.input.__class__.__name__]))
        ]
    except ModelFileError as error:
        return "refused", str(error)
    except JudgeError as error:
        return _compared(data, items, None, str(error))
    except BaseException as error:  # noqa: BLE001 - this is what the test looks for
        return "wrong", f"{type(error).__name__}: {error}"
    return _compared(data, items, np.array(got, np.float64), "")


def _compared(
    data: bytes, items: Mapping[str, np.ndarray[Any, Any]], got: np.ndarray[Any, Any] | None, why: str
) -> tuple[str, str]:
    try:
        expected = _reference(data, items)
    except Exception as error:  # noqa: BLE001 - whatever the other reading says, it gives no verdict
        return ("failed", why) if got is None else ("wrong", f"judged, but the other reading fails: {error}")
    if got is None:
        return "wrong", f"the other reading judges, but: {why}"
    same = np.array_equal(got, expected, equal_nan=True)
    return ("honest", "") if same else ("wrong", f"judged as {got.tolist()}, expected {expected.tolist()}")


def _reference(data: bytes, items: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Status, reason, score, threshold and p-value of each item."""
    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    batch = items["FrameSpec" if given == "frame" else "WindowSpec"]
    if batch.ndim == 3 and given == "frame":
        batch = batch[..., np.newaxis]
    outputs = session.run(["status", "reason", "score", "threshold", "p_value"], {given: batch})
    columns = [np.asarray(output, np.float64) for output in outputs]
    # a reason that this andon does not know becomes OTHER
    known = np.isin(columns[1], [0, 1, 2, *range(64, 71), 255])
    columns[1] = np.where(known, columns[1], 255)
    return np.stack(columns, axis=1)


def main() -> None:
    """Judge and compare each file."""
    items = dict(np.load(sys.argv[1]))
    for line in sys.stdin:
        path = line.rstrip("\n")
        kind, why = outcome(Path(path).read_bytes(), items)
        print(json.dumps({"file": path, "outcome": kind, "why": why}), flush=True)


if __name__ == "__main__":
    bound_memory()
    main()
