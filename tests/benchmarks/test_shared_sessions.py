"""The benchmark of shared sessions judges the same frames with and without sharing."""

from pathlib import Path

from benchmarks.shared_sessions import batches, run_lines
from tests.runtime.hand_made import FRAME, frame, model_bytes


def test_lines_with_and_without_sharing_give_the_same_verdicts(tmp_path: Path) -> None:
    model = tmp_path / "parts.onnx"
    model.write_bytes(model_bytes(FRAME, threshold=0.3))
    frames = [frame(seed, level=level) for seed, level in enumerate((128, 140, 200))]

    shared = run_lines(str(model), frames, 3, 5, shared=True)
    own = run_lines(str(model), frames, 3, 5, shared=False)

    assert shared["verdicts"] == own["verdicts"]
    assert len(set(shared["verdicts"])) == 3  # each line begins with another frame


def test_each_size_of_a_batch_is_compared_with_single_calls(tmp_path: Path) -> None:
    model = tmp_path / "parts.onnx"
    model.write_bytes(model_bytes(FRAME, threshold=0.3))

    rows = list(batches(str(model), [frame(seed) for seed in range(8)]))

    assert [row["batch"] for row in rows] == [1, 2, 4, 8]
    assert rows[0]["other_bits"] == 0
