"""Trace the pipeline from raw input to evidence and score as one ONNX graph. The graph contains nothing about this machine."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from andon.export.decision import INPUT_REASON, RAW_SCORE
from andon.export.evidence import Evidence
from andon.export.masks import judged_pixels
from andon.export.pooling import Pool
from andon.export.preprocessing import PrepareWindows, Restore, prepare
from andon.export.scene import SceneFeatures
from andon.export.tiles import JudgeTiles
from andon.foundation.errors import ConfigError, ParityError
from andon.runtime.grey_levels import raw_levels
from andon.runtime.model_file.format import IR_VERSION, OPSET
from andon.runtime.schema import SCENE_FEATURES, FrameSpec, InputSpec, ScoreRule
from andon.runtime.typical_window import typical

Sizes = dict[int, Any]
"""Dynamic dimensions of a tensor by axis."""


class Pipeline(nn.Module):
    """A scorer with its input and score rule: everything that the file computes, except the decision."""

    def __init__(self, scorer: nn.Module, spec: InputSpec, rule: ScoreRule, *, scene: bool = False) -> None:
        """Create a pipeline.

        Args:
            scorer: a module from prepared inputs of `spec` to `Evidence`.
            spec: the input.
            rule: the definition of the deciding score.
            scene: give the file a scene check, which makes frames INVALID that are wrong as a whole. For frames only.

        Raises:
            ConfigError: a scene check was asked for, but the input is not a frame.
        """
        super().__init__()
        self.spec = spec
        self.rule = rule
        self.prepare = prepare(spec)
        self.scorer = scorer
        self.pool = Pool(rule, spec)
        self.restore = Restore(spec)
        if scene and not isinstance(spec, FrameSpec):
            raise ConfigError("scene check: expected frames, got windows of sensor values. Leave out the scene check.")
        self.tiles = JudgeTiles(spec, spec.tiles) if isinstance(spec, FrameSpec) and spec.tiles is not None else None
        self.scene = None
        if scene and isinstance(spec, FrameSpec):
            self.scene = SceneFeatures(spec.mean, spec.scale, judged_pixels(spec))

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Return score ``[N]``, input reason ``[N]``, and the evidence in the order of `evidence_names`."""
        prepared, reason = self.prepare(raw)
        outputs = self._outputs(prepared, raw)
        return outputs.pop("score"), reason, *outputs.values()

    def evidence_names(self) -> list[str]:
        """Return the names of the outputs after score and reason."""
        with torch.no_grad():
            raw = example_input(self.spec)
            outputs = self._outputs(self.prepare(raw)[0], raw)
        return [name for name in outputs if name != "score"]

    def _outputs(self, prepared: Tensor, raw: Tensor) -> dict[str, Tensor]:
        return self.outputs_of(self._evidence(prepared, raw), prepared, raw)

    def outputs_of(self, evidence: Evidence, prepared: Tensor, raw: Tensor) -> dict[str, Tensor]:
        """Pool evidence and return all outputs by name, ``score`` first."""
        excess = self.prepare.excess(raw) if isinstance(self.prepare, PrepareWindows) else None
        outputs: dict[str, Tensor] = self.pool(evidence, excess)
        pictures = {name: self.restore(image, raw) for name, image in evidence.images.items()}
        scene = {} if self.scene is None else {SCENE_FEATURES: self.scene(prepared, evidence.scene)}
        return outputs | pictures | dict(evidence.tables) | scene

    def _evidence(self, prepared: Tensor, raw: Tensor) -> Evidence:
        """Judge prepared inputs. With tiles, `prepared` is the whole frame at the size of one tile: only the scene sees it."""
        if self.tiles is None:
            whole: Evidence = self.scorer(prepared)
            return whole
        evidence: Evidence = self.tiles(self.scorer, raw)
        scene = self.scorer(prepared).scene if self.scene is not None else None
        return evidence._replace(scene=scene)


def example_input(spec: InputSpec) -> Tensor:
    """Return an example batch for tracing.

    It has two rows, because one row would freeze the batch size. Frames are not square and do not have the network's size.
    """
    generator = torch.Generator().manual_seed(0)
    if isinstance(spec, FrameSpec):
        levels = torch.randint(0, 256, (2, 300, 500, spec.channels), generator=generator, dtype=torch.uint8)
        return levels if spec.dtype == "uint8" else torch.from_numpy(raw_levels(levels.numpy(), spec))
    usual = typical(spec)
    noise = torch.randn((2, spec.steps, len(spec.channels)), generator=generator)
    return torch.from_numpy(usual.center).float() + torch.from_numpy(usual.scale).float() * noise


def trace(pipeline: Pipeline) -> onnx.ModelProto:
    """Return the pipeline as an ONNX graph with dynamic batch (and frame size), stripped of paths and source lines.

    Raises:
        ParityError: the graph contains an operator with random results.
    """
    frames = isinstance(pipeline.spec, FrameSpec)
    sizes: Sizes = {0: Dim("N", min=1)}
    if frames:
        sizes |= {1: Dim("H", min=16), 2: Dim("W", min=16)}
    names = [RAW_SCORE, INPUT_REASON, *pipeline.evidence_names()]
    return traced(pipeline, (example_input(pipeline.spec),), (sizes,), ["frame" if frames else "window"], names)


def traced(
    module: nn.Module, example: tuple[Any, ...], sizes: tuple[Any, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return a module as an ONNX graph, stripped of paths and source lines.

    Args:
        module: the module. It is switched to eval mode.
        example: its arguments.
        sizes: the dynamic dimensions of each argument.
        inputs: names of the tensors in the arguments.
        outputs: names of the results.

    Raises:
        ParityError: the graph contains an operator with random results.
    """
    with torch.no_grad(), _quiet("torch.onnx"), _quiet("onnxscript"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13 logs warnings about its own internals during tracing
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            dynamic_shapes=sizes,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ParityError("torch.onnx.export: expected a program, got None. Report this as a bug.")
    model = program.model_proto
    _strip(model)
    random = {node.op_type for node in model.graph.node} & {"RandomNormalLike", "RandomNormal", "Dropout", "Bernoulli"}
    if random:
        raise ParityError(
            f"graph: expected deterministic operators, got {', '.join(sorted(random))}. Remove random numbers and dropout from "
            "the scorer in eval mode."
        )
    model.ir_version = IR_VERSION
    return model


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a logger below the level ERROR. Restore its level afterwards."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _strip(model: onnx.ModelProto) -> None:
    """Remove everything that the tracer wrote about this machine and its source files. Numbers do not change."""
    model.doc_string = ""
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "andon", ""
    graph = model.graph
    graph.name = "andon"
    for documented in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        documented.doc_string = ""
        del documented.metadata_props[:]
    del graph.value_info[:]
