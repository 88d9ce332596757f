"""Windows with a trend or a context, through the traced graph."""

from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
import torch
from msgspec.structs import replace
from tests.export.toys import WINDOWS

from andon.export.evidence import Evidence
from andon.export.graph import Pipeline, trace
from andon.export.states import limits, near
from andon.runtime.schema import Channel, Context, Detrend, Reason, ScoreRule, WindowSpec

SPEC = replace(WINDOWS, channels=(*WINDOWS.channels, Channel(name="speed", low=10.0, high=90.0)))
CENTER, SCALE = ((230.0, 1.0, 0.0), (110.0, 3.0, 0.0)), ((5.0, 0.2, 1.0), (2.0, 0.5, 1.0))
VALUE = Context(channel="speed", by="value", bounds=(20.0, 60.0), center=CENTER, scale=SCALE)
RANGE = Context(channel="speed", by="range", bounds=(40.0,), center=CENTER, scale=SCALE)


class Smooth(torch.nn.Module):
    """A scorer with a reconstruction: the mean of each channel."""

    def forward(self, prepared: torch.Tensor) -> Evidence:
        rebuilt = prepared.mean(dim=1, keepdim=True).expand_as(prepared)
        return Evidence({"error": (prepared - rebuilt) ** 2}, {}, images={"reconstruction": rebuilt})


def windows(speeds: Sequence[float]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((len(speeds), SPEC.steps, 3), generator=generator)
    values = values * torch.tensor([5.0, 0.2, 0.0]) + torch.tensor([230.0, 1.0, 0.0])
    values[..., 2] = torch.tensor(speeds)[:, None]
    return values


@pytest.mark.parametrize("detrend", ["none", "mean", "line"])
@pytest.mark.parametrize("context", [None, VALUE, RANGE], ids=["alone", "value", "range"])
def test_the_graph_gives_the_numbers_of_the_module(detrend: Detrend, context: Context | None) -> None:
    spec: WindowSpec = replace(SPEC, detrend=detrend, context=context)
    pipeline = Pipeline(Smooth(), spec, ScoreRule(map="error"))
    raw = windows([20.0, 60.0, 60.0, 33.0, 95.0, float("nan")])
    session = onnxruntime.InferenceSession(trace(pipeline).SerializeToString(), providers=["CPUExecutionProvider"])

    found = session.run(None, {"window": raw.numpy()})

    names = [output.name for output in session.get_outputs()]
    expected = pipeline(raw)
    for name, got, wanted in zip(names, found, expected, strict=True):
        assert np.allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-3, equal_nan=True), name
    known = [0, 0, 0, 0 if context is not VALUE else Reason.OUTSIDE_TRAINING]
    far = 0 if context is None else Reason.OUTSIDE_TRAINING
    assert found[1].tolist() == [*known, far, Reason.NOT_FINITE]


def test_a_value_is_known_within_one_percent_of_the_smallest_step() -> None:
    assert near(VALUE) == [0.4, 0.4]
    assert near(replace(VALUE, bounds=(3.0,), center=CENTER[:1], scale=SCALE[:1])) == [0.03]


def test_a_range_has_a_margin_of_five_percent() -> None:
    assert limits(RANGE, 10.0, 90.0) == pytest.approx((6.0, 94.0))
    assert limits(RANGE, None, None) == (-np.inf, np.inf)
