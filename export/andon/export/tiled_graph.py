"""Build the ONNX graph of a pipeline with tiles: trace its parts once, and write out the chunks by copying nodes.

Tracing all chunks one after another would give the same graph, but takes about 10 s for each of them.

==========  =========================================================================================================
begin       The frame becomes a preview of the size of one tile, for the checks, and a list of the pixels to read.
cut         The pixels of some neighbouring tiles become prepared tiles. Copied for each chunk.
fill        The pixels of these tiles that do not count get one fixed value. Copied for each chunk that has such pixels.
judge       Prepared tiles become their maps. Copied for each chunk.
end         The maps of all tiles become one map and one score.
==========  =========================================================================================================

Tiles without a pixel that counts are in no chunk.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.export import Dim

from andon.export.decision import INPUT_REASON, RAW_SCORE
from andon.export.evidence import Evidence
from andon.export.graph import Pipeline, example_input, traced
from andon.export.preprocessing import PrepareFrames
from andon.export.resize import PHASES, Reading
from andon.export.tile_grid import Chunk
from andon.export.tile_masks import packed
from andon.export.tiles import JudgeTiles, maps_of
from andon.foundation.errors import ConfigError
from andon.runtime.model_file.format import IR_VERSION, OPSET

_READING = [f"{kind}_{phase}" for kind in ("rows", "columns") for phase in range(len(PHASES))] + [
    "for_rows",
    "for_columns",
]
"""Names of the tensors of a reading, in the order of `_flat`."""
_ROWS = {"for_rows", *(f"rows_{phase}" for phase in range(len(PHASES)))}


def trace_tiled(pipeline: Pipeline) -> onnx.ModelProto:
    """Return a pipeline with tiles as an ONNX graph, in the same form as `graph.trace`.

    Raises:
        ConfigError: the pipeline has no tiles.
        ParityError: the graph contains an operator with random results.
    """
    tiles = pipeline.tiles
    if tiles is None:
        raise ConfigError("tiles: expected an input with tiles, got one without. Use graph.trace.")
    pipeline.eval()
    frame = example_input(pipeline.spec)
    with torch.no_grad():
        begin = _Begin(pipeline, tiles)
        cropped, preview, _, *rest = begin(frame)
        reading = tuple(rest[: len(_READING)])
        scene = rest[len(_READING) :]
        names, maps = _example_maps(pipeline, tiles, cropped, _from_flat(reading))
    frames: dict[int, Any] = {0: Dim("N", min=1), 1: Dim("H", min=16), 2: Dim("W", min=16)}
    batch = {0: Dim("N", min=1)}
    begin_names = ["cropped", "preview", INPUT_REASON, *_READING, *["scene"][: len(scene)]]
    result = _Assembly(traced(begin, (frame,), (frames,), ["frame"], begin_names))
    parts = _Parts(pipeline, tiles, names, cropped, _from_flat(reading))
    outputs: dict[str, list[str]] = {name: [] for name in names}
    for number, chunk in enumerate(tiles.cut.chunks):
        blocks = tiles.cut.blocks(chunk)
        count = len(chunk.columns)
        inputs = {"cropped": "cropped"}
        for name in _READING:
            inputs[name] = result.slice(name, blocks[0] if name in _ROWS else blocks[1], prefix=f"tiles{number}_")
        prepared = result.add(parts.cut(chunk), prefix=f"tiles{number}_cut_", inputs=inputs)["prepared"]
        counting = tiles.cut.counting(chunk)
        if counting is not None:
            values = {"prepared": prepared, "counting": result.tensor(counting, "counting")}
            prepared = result.add(parts.fill(count), prefix=f"tiles{number}_fill_", inputs=values)["filled"]
        given = result.add(parts.judge, prefix=f"tiles{number}_judge_", inputs={"prepared": prepared})
        for name, example_map in zip(names, maps, strict=True):
            shape = (count, -1, *example_map.shape[2:])
            outputs[name].append(result.reshape(given[name], shape, f"tiles{number}_{name}"))
    end = _End(pipeline, tiles, names)
    example = (maps, preview, *scene)
    with torch.no_grad():
        others = [name for name in end.outputs(*example) if name != "score"]
    last = traced(
        end,
        example,
        (tuple({1: batch[0]} for _ in maps), *(batch for _ in example[1:])),
        [*(f"map_{name}" for name in names), "preview", *["scene"][: len(scene)]],
        [RAW_SCORE, *others],
    ).graph
    inputs = {f"map_{name}": result.concatenate(outputs[name], f"map_{name}") for name in names}
    inputs |= {"preview": "preview"} | ({"scene": "scene"} if scene else {})
    wanted = {output.name: output for output in last.output}
    result.add(last, prefix="end_", inputs=inputs, keep=tuple(wanted))
    reasons = next(output for output in result.graph.output if output.name == INPUT_REASON)
    return result.model([wanted[RAW_SCORE], reasons, *(wanted[name] for name in others)])


class _Begin(nn.Module):
    """A module from raw frames to cropped frames, preview, reason, the tensors of a reading and, if asked for, the scene."""

    def __init__(self, pipeline: Pipeline, tiles: JudgeTiles) -> None:
        super().__init__()
        self.prepare, self.scorer, self.tiles = pipeline.prepare, pipeline.scorer, tiles
        self.scene = pipeline.scene is not None

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        assert isinstance(self.prepare, PrepareFrames)
        preview, reason = self.prepare(frame)
        cropped = self.tiles.cut.preparation.crop(frame)
        reading = self.tiles.cut.resize.reading(cropped.shape[1], cropped.shape[2])
        evidence: Evidence | None = self.scorer(preview) if self.scene else None
        scene = [] if evidence is None or evidence.scene is None else [evidence.scene]
        return (cropped, preview, reason, *_flat(reading), *scene)


class _Cut(nn.Module):
    """A module from cropped frames and the part of a reading to the prepared tiles of a chunk, ``[count * N, C, h, w]``."""

    def __init__(self, tiles: JudgeTiles, count: int) -> None:
        super().__init__()
        self.tiles, self.count = tiles, count

    def forward(self, cropped: Tensor, reading: tuple[Tensor, ...]) -> Tensor:
        return self.tiles.cut.tiles_of(cropped, _from_flat(reading), self.count)


class _Judge(nn.Module):
    """A module from prepared tiles ``[K, C, h, w]`` to their maps, ``[K, h, w]`` each."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, prepared: Tensor) -> tuple[Tensor, ...]:
        return tuple(values[0] for values in maps_of(self.scorer(prepared), 1).values())


class _Parts:
    """The traced parts of chunks. One part judges chunks of any length; cutting and filling depend on it."""

    def __init__(
        self, pipeline: Pipeline, tiles: JudgeTiles, maps: Sequence[str], cropped: Tensor, reading: Reading
    ) -> None:
        self._tiles, self._cropped, self._reading = tiles, cropped, reading
        self._cuts: dict[int, onnx.GraphProto] = {}
        self._fills: dict[int, onnx.GraphProto] = {}
        some = {0: Dim("K", min=1)}
        example = (self._example(tiles.cut.chunks[0]),)
        self.judge: onnx.GraphProto = traced(_Judge(pipeline.scorer), example, (some,), ["prepared"], maps).graph

    def cut(self, chunk: Chunk) -> onnx.GraphProto:
        """Return the graph that cuts the tiles of a chunk of this length."""
        count = len(chunk.columns)
        if count not in self._cuts:
            part = _flat(self._reading.part(*self._tiles.cut.blocks(chunk)))
            sizes: dict[int, Any] = {0: Dim("N", min=1), 1: Dim("H", min=16), 2: Dim("W", min=16)}
            self._cuts[count] = traced(
                _Cut(self._tiles, count),
                (self._cropped, part),
                (sizes, tuple({} for _ in part)),
                ["cropped", *_READING],
                ["prepared"],
            ).graph
        return self._cuts[count]

    def fill(self, count: int) -> onnx.GraphProto:
        """Return the graph that fills the pixels of this number of tiles that do not count."""
        if count not in self._fills:
            channels, (height, width) = self._tiles.cut.spec.channels, self._tiles.size
            tiles = torch.zeros(2 * count, channels, height, width)
            counting = packed(torch.ones(count, height, width, dtype=torch.bool))
            batch = Dim("batch", min=1)  # not N, which is a function of sympy, so that N * 2 has no name
            self._fills[count] = traced(
                self._tiles.cut.fill, (tiles, counting), ({0: batch * count if count > 1 else batch}, {}),
                ["prepared", "counting"], ["filled"],
            ).graph  # fmt: skip
        return self._fills[count]

    def _example(self, chunk: Chunk) -> Tensor:
        cut = self._tiles.cut
        with torch.no_grad():
            return cut.tiles_of(self._cropped, self._reading.part(*cut.blocks(chunk)), len(chunk.columns))


class _End(nn.Module):
    """A module from the maps of all tiles to score and outputs."""

    def __init__(self, pipeline: Pipeline, tiles: JudgeTiles, maps: Sequence[str]) -> None:
        super().__init__()
        self.pool, self.scene, self.tiles = pipeline.pool, pipeline.scene, tiles
        self.maps = maps
        self._outputs_of: Callable[..., dict[str, Tensor]] = pipeline.outputs_of

    def forward(self, maps: tuple[Tensor, ...], preview: Tensor, scene: Tensor | None = None) -> tuple[Tensor, ...]:
        outputs = self.outputs(maps, preview, scene)
        return outputs.pop("score"), *outputs.values()

    def outputs(self, maps: tuple[Tensor, ...], preview: Tensor, scene: Tensor | None = None) -> dict[str, Tensor]:
        evidence = self.tiles.join(dict(zip(self.maps, maps, strict=True)))._replace(scene=scene)
        return self._outputs_of(evidence, preview, preview)


def _example_maps(
    pipeline: Pipeline, tiles: JudgeTiles, cropped: Tensor, reading: Reading
) -> tuple[list[str], tuple[Tensor, ...]]:
    """Return the names of the maps, and examples of them for all cut tiles, ``[K, N, h, w]``: those of one chunk, repeated."""
    first = tiles.cut.chunks[0]
    prepared = tiles.cut.tiles_of(cropped, reading.part(*tiles.cut.blocks(first)), len(first.columns))
    maps = maps_of(pipeline.scorer(prepared), len(first.columns))
    every = len(tiles.cut.kept)
    return list(maps), tuple(values[:1].expand(every, *values.shape[1:]).clone() for values in maps.values())


def _flat(reading: Reading) -> tuple[Tensor, ...]:
    return (*reading.rows, *reading.columns, reading.for_rows, reading.for_columns)


def _from_flat(tensors: Sequence[Tensor]) -> Reading:
    phases = len(PHASES)
    return Reading(list(tensors[:phases]), list(tensors[phases : 2 * phases]), tensors[-2], tensors[-1])


_Content = tuple[int, tuple[int, ...], bytes]


class _Assembly:
    """A graph that grows by copies of other graphs. Equal constants are stored once."""

    def __init__(self, first: onnx.ModelProto) -> None:
        self.graph = first.graph
        self._stored: dict[_Content, str] = {_content(tensor): tensor.name for tensor in self.graph.initializer}
        self._taken = {tensor.name for tensor in (*self.graph.initializer, *self.graph.input)}
        self._taken |= {name for node in self.graph.node for name in node.output}

    def add(
        self, graph: onnx.GraphProto, *, prefix: str, inputs: Mapping[str, str], keep: Sequence[str] = ()
    ) -> dict[str, str]:
        """Append the nodes of a graph and return the new names of its outputs.

        Args:
            graph: the graph to copy.
            prefix: put before the names of nodes and values.
            inputs: the values to use for the inputs of `graph`.
            keep: values that keep their names.
        """
        names = dict(inputs)
        for tensor in graph.initializer:
            names[tensor.name] = self._constant(tensor)
        for node in graph.node:
            copied = self.graph.node.add()
            copied.CopyFrom(node)
            copied.name = f"{prefix}{node.name}"
            names |= {output: output if output in keep else f"{prefix}{output}" for output in node.output if output}
            copied.input[:] = [names[name] if name else "" for name in node.input]
            copied.output[:] = [names[name] if name else "" for name in node.output]
        return {output.name: names[output.name] for output in graph.output}

    def slice(self, name: str, part: slice, *, prefix: str) -> str:
        """Append a slice of a value along its first axis, and return its name."""
        limits = [self._numbers([number]) for number in (part.start, part.stop, 0)]
        made = f"{prefix}{name}"
        self.graph.node.append(helper.make_node("Slice", [name, *limits], [made], name=f"{prefix}slice_{name}"))
        return made

    def tensor(self, values: Tensor, name: str) -> str:
        """Store a constant, and return its name."""
        return self._constant(numpy_helper.from_array(values.numpy(), name))

    def reshape(self, name: str, shape: Sequence[int], made: str) -> str:
        """Append a reshape of a value, and return its name."""
        self.graph.node.append(
            helper.make_node("Reshape", [name, self._numbers(shape)], [made], name=f"reshape_{made}")
        )
        return made

    def concatenate(self, values: Sequence[str], name: str) -> str:
        """Append a concatenation along the first axis, and return its name."""
        self.graph.node.append(helper.make_node("Concat", values, [name], name=f"concatenate_{name}", axis=0))
        return name

    def model(self, outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """Return the graph with these outputs, without constants that no node uses."""
        used = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        made = helper.make_graph(self.graph.node, "andon", self.graph.input, outputs, kept)
        return helper.make_model(
            made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="andon"
        )

    def _numbers(self, values: Sequence[int]) -> str:
        return self._constant(
            numpy_helper.from_array(torch.tensor(values).numpy(), f"numbers_{'_'.join(map(str, values))}")
        )

    def _constant(self, tensor: onnx.TensorProto) -> str:
        content = _content(tensor)
        if content not in self._stored:
            name: str = tensor.name
            number = 0
            while name in self._taken:
                number += 1
                name = f"{tensor.name}_{number}"
            stored = self.graph.initializer.add()
            stored.CopyFrom(tensor)
            stored.name = name
            self._stored[content] = name
            self._taken.add(name)
        return self._stored[content]


def _content(tensor: onnx.TensorProto) -> _Content:
    array = numpy_helper.to_array(tensor)
    return tensor.data_type, tuple(tensor.dims), array.tobytes()
