"""The part of a graph that one output needs."""

import numpy as np
import pytest
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.foundation.errors import ConfigError
from andon.runtime.model_file.onnx_subset import survey
from andon.runtime.model_file.pruning import only
from andon.runtime.session import open_session

FILE = model_bytes(FRAME)


@pytest.mark.parametrize("output", ["score", "reason", "threshold", "p_value"])
def test_an_output_has_the_same_values_without_the_rest_of_the_graph(output: str) -> None:
    batch = np.stack([frame(140), frame(90)])

    whole = open_session(FILE).run([output], {"frame": batch})[0]
    alone = open_session(only(FILE, output)).run(None, {"frame": batch})

    assert len(alone) == 1
    np.testing.assert_array_equal(alone[0], whole)


def test_nodes_and_numbers_that_the_output_does_not_need_are_left_out() -> None:
    whole, reason = survey(FILE), survey(only(FILE, "reason"))

    assert "andon.tail_x" in whole.tensors
    assert "andon.tail_x" not in reason.tensors
    assert [value.name for value in reason.outputs] == ["reason"]
    assert sum(part.number == 1 for part in reason.parts) < sum(part.number == 1 for part in whole.parts)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an output of the graph, got 'scores'"):
        only(FILE, "scores")
