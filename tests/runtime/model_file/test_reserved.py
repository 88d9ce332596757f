"""Reserved fields of schema 1.1 are read with bounds, and nothing writes them yet."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.runtime import forge
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

from andon.runtime import Detector, DeviceError, ModelFileError, Reason
from andon.runtime.calibration_facts import Calibration
from andon.runtime.model_file.format import LogEntry, ModelFile, Tail, append_log, parse, seal
from andon.runtime.schema import Card, Context, FrameSpec, SceneCheck, WindowSpec

FRAMES = model_bytes(FRAME, threshold=0.5)
WINDOWS = model_bytes(WINDOW)
SHA = "0123456789abcdef" * 4

Change = Callable[[dict[str, Any]], object]


def edited(data: bytes, change: Change) -> bytes:
    """Return the file with another card and the right digest."""

    def other(text: str) -> str:
        card = json.loads(text)
        change(card)
        return json.dumps(card, sort_keys=True, separators=(",", ":"))

    return forge.text_edit(data, "andon", other)


def put(path: str, value: object) -> Change:
    """Set one field of the card, by the names on the way to it."""
    *way, last = path.split(".")

    def change(card: dict[str, Any]) -> None:
        place: Any = card
        for name in way:
            place = place[int(name)] if isinstance(place, list) else place[name]
        place[last] = value

    return change


def sealed_again(model: ModelFile, card: Card | None = None) -> bytes:
    """Return the file as written by a program that knows the file's schema."""
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    return seal(model.data, card=card or model.card, golden=model.golden, log=model.log, tail=tail)


MASK = {"sha256": SHA, "frame_size": [32, 48], "share": 0.1, "outline": [[[0, 0], [0.5, 0], [0.5, 1]]]}
AUDIT = {
    "date": "2027-01-02", "parts": 500, "rejects": 2, "alpha": 0.05, "confidence": 0.95, "looks": "once", "lower": 0.0,
    "upper": 0.02, "finding": "confirmed",
}  # fmt: skip
BAND = {"source": "good_parts", "alpha": 0.05, "above": 3, "confidence": 0.95}
DRIFT = {
    "n": 600,
    "tau": 1.5,
    "z": [-3.1, 0.0, 3.1],
    "cusum": {"k": 0.25, "h": 14.49, "run_length": 10_000, "confidence": 0.9},
    "budget": {"expected": 0.01, "raised": 0.02, "step": 69, "h": 525, "quiet_parts": 5000},
    "psi": {"window": 200, "limit": 0.186, "bins": 10},
    "ks": {"window": 200, "limit": 0.1592},
}
FILLED: dict[str, tuple[bytes, Mapping[str, object]]] = {
    "frames": (
        FRAMES,
        {
            "memory_mb": 120.5,
            "tolerance": 0.01,
            "checkpoint_epoch": 7,
            "notes": ["a remark"],
            "input.black": 16.0,
            "input.white": 235.0,
            "input.ignore": MASK,
            "input.region": MASK,
            "input.tiles": {"rows": 3, "columns": 4, "overlap": 32, "chunk": 4},
            "calibration.shift": {"parts": 5000, "rejects": 20, "confidence": 0.95, "share": 0.9, "approximate": True},
            "calibration.review": BAND,
            "calibration.misses": {"defects": 59, "missed": 0, "beta": 0.05, "confidence": 0.95, "limit": "review"},
            "calibration.audits": [AUDIT, AUDIT],
            "calibration.drift": DRIFT,
            "calibration.health": {"n": 60, "sharpness": {"q01": 10.0, "q50": 20.0, "q99": 40.0}},
            "calibration.sampling.days": 3,
            "calibration.sampling.steadiness": {"p": 0.2, "limit": 0.005, "pieces": [2, 4]},
        },
    ),
    "windows": (
        WINDOWS,
        {
            "input.detrend": "mean",
            "input.context": {"channel": "flow", "by": "range", "bounds": [0.0, 1.5]},
            "input.channels.0.spread": {"low": 0.1, "high": 2.0},
            "input.channels.0.rate": {"low": -1.0, "high": 1.0},
            "calibration.unit": "block",
            "calibration.sampling": {
                "method": "blocks", "units": 900, "groups": 1, "block_units": 15, "tau_ranks": 3.0, "tau_rule": "exceedances",
            },
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILLED)
def test_a_file_with_filled_fields_is_read_and_written_again_without_loss(kind: str) -> None:
    data, fields = FILLED[kind]
    for path, value in fields.items():
        data = edited(data, put(path, value))

    model = parse(data)

    assert parse(sealed_again(model)).card == model.card
    written = msgspec.to_builtins(model.card)
    for path, value in fields.items():
        found = written
        for name in path.split("."):
            found = found[int(name)] if isinstance(found, list | tuple) else found[name]
        assert _within(value, found), path


def _within(given: object, found: object) -> bool:
    """Return whether every given value was kept. Defaults may have been added."""
    if isinstance(given, dict):
        return isinstance(found, dict) and all(_within(value, found[name]) for name, value in given.items())
    if isinstance(given, list):
        return isinstance(found, list | tuple) and all(map(_within, given, found)) and len(given) == len(found)
    return given == found


@pytest.mark.parametrize(
    ("data", "path", "value"),
    [
        (FRAMES, "tolerance", 0.0),
        (FRAMES, "tolerance", 0.2),
        (FRAMES, "checkpoint_epoch", 0),
        (FRAMES, "notes", ["x"] * 21),
        (FRAMES, "notes", ["x" * 501]),
        (FRAMES, "memory_mb", -1.0),
        (FRAMES, "input.white", 65536.0),
        (FRAMES, "input.white", -1.0),
        (FRAMES, "input.black", 255.0),
        (FRAMES, "input.ignore", MASK | {"sha256": "xyz"}),
        (FRAMES, "input.ignore", MASK | {"sha256": SHA + "\n"}),
        (FRAMES, "input.ignore", MASK | {"frame_size": [32, 49]}),
        (FRAMES, "input.region", MASK | {"share": 1.1}),
        (FRAMES, "input.region", MASK | {"outline": [[[0, 0], [1, 1]]]}),
        (FRAMES, "input.region", MASK | {"outline": [[[0, 0], [1, 1], [2, 0]]]}),
        (FRAMES, "input.tiles", {"rows": 0, "columns": 1, "overlap": 0, "chunk": 1}),
        (FRAMES, "input.tiles", {"rows": 1, "columns": 1, "overlap": -1, "chunk": 1}),
        (FRAMES, "input.tiles", {"rows": 1, "columns": 10**9, "overlap": 0, "chunk": 1}),
        (FRAMES, "calibration.shift", {"parts": 0, "rejects": 0, "confidence": 0.95}),
        (FRAMES, "calibration.shift", {"parts": 10**300, "rejects": 0, "confidence": 0.95}),
        (FRAMES, "calibration.review", BAND | {"alpha": -0.1}),
        (FRAMES, "calibration.review", BAND | {"source": "a guess"}),
        (FRAMES, "calibration.audits", [AUDIT] * 1001),
        (FRAMES, "calibration.audits", [AUDIT | {"finding": "fine"}]),
        (FRAMES, "calibration.audits", [AUDIT | {"date": "x" * 501}]),
        (FRAMES, "calibration.drift", DRIFT | {"tau": 0.5}),
        (FRAMES, "calibration.drift", DRIFT | {"z": [0.0] * 258}),
        (FRAMES, "calibration.health", {"n": 0}),
        (FRAMES, "calibration.sampling.method", "by hand"),
        (FRAMES, "calibration.sampling.units", -1),
        (FRAMES, "calibration.sampling.tau_ranks", 0.9),
        (FRAMES, "calibration.precision", "float8"),
        (WINDOWS, "input.detrend", "curve"),
        (WINDOWS, "input.context", {"channel": "speed", "by": "value", "bounds": [1.0]}),
        (WINDOWS, "input.context", {"channel": "flow", "by": "value", "bounds": []}),
        (WINDOWS, "input.context", {"channel": "flow", "by": "value", "bounds": [2.0, 1.0]}),
        (WINDOWS, "input.context", {"channel": "flow", "by": "value", "bounds": [float(i) for i in range(257)]}),
        (WINDOWS, "input.channels.0.rate", {"low": 0.0}),
    ],
)
def test_a_value_beyond_its_bounds_is_refused(data: bytes, path: str, value: object) -> None:
    with pytest.raises(ModelFileError):
        parse(edited(data, put(path, value)))


def with_left_out(number: int, mask: object) -> bytes:
    tiles = {"rows": 3, "columns": 4, "overlap": 32, "chunk": 4, "left_out": number}

    def change(card: dict[str, Any]) -> None:
        card["input"] |= {"tiles": tiles, "ignore": mask}

    return edited(FRAMES, change)


def test_masks_can_leave_all_tiles_out_except_one() -> None:
    spec = parse(with_left_out(11, MASK)).card.input

    assert isinstance(spec, FrameSpec)
    assert spec.tiles is not None
    assert spec.tiles.left_out == 11


@pytest.mark.parametrize(("number", "mask", "most"), [(1, None, 0), (12, MASK, 11), (65535, MASK, 11)])
def test_a_file_that_leaves_all_tiles_out_or_some_without_a_mask_is_refused(
    number: int, mask: object, most: int
) -> None:
    with pytest.raises(ModelFileError, match=f"tiles: expected left_out of at most {most}, got {number}"):
        parse(with_left_out(number, mask))


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_a_number_that_is_not_finite_is_refused(number: str) -> None:
    forged = forge.text_edit(FRAMES, "andon", lambda text: text.replace('"tolerance":0.0001', f'"tolerance":{number}'))

    with pytest.raises(ModelFileError):
        parse(forged)


def test_the_type_in_the_card_must_be_that_of_the_graph() -> None:
    with pytest.raises(ModelFileError, match="graph: expected one input 'frame'"):
        parse(edited(FRAMES, put("input.dtype", "uint16")))


# the scene check


SCENE = SceneCheck(features=5, limits=2, cells=(8, 8), quantile=0.999, n=100)


def scene_file(
    *, center: int = 5, scale: int | None = None, limit: int = 2, value: float = 1.0, scene: SceneCheck | None = SCENE
) -> bytes:
    """Return a file with the initialisers of a scene check."""
    lengths = {"andon.scene_center": center, "andon.scene_limit": limit}
    lengths |= {"andon.scene_scale": scale} if scale else {}
    weights = {name: np.full(length, value, np.float32) for name, length in lengths.items()}
    return model_bytes(replace(FRAME, scene=scene), threshold=0.5, weights=weights)


@pytest.mark.parametrize("scale", [None, 5])
def test_a_file_with_the_initialisers_of_a_scene_check_is_read(scale: int | None) -> None:
    model = parse(scene_file(scale=scale))

    assert isinstance(model.card.input, FrameSpec)
    assert model.card.input.scene == SCENE


def test_the_numbers_of_the_scene_check_are_outside_the_graph_digest() -> None:
    one, other = parse(scene_file(value=1.0)), parse(scene_file(value=2.0))

    assert one.graph_sha256 == other.graph_sha256
    assert one.digest != other.digest


def test_calibration_keeps_the_numbers_of_the_scene_check() -> None:
    data = scene_file(value=7.0)

    assert np.full(5, 7.0, np.float32).tobytes() in sealed_again(parse(data))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"center": 4}, "andon.scene_center: expected 5 float32 numbers"),
        ({"limit": 1}, "andon.scene_limit: expected 2 float32 numbers"),
        ({"scale": 6}, "andon.scene_scale: expected 5 float32 numbers"),
        ({"scene": None}, "unknown initialiser 'andon.scene_center'"),
        ({"value": float("nan")}, "andon.scene_center: expected finite numbers"),
    ],
)
def test_initialisers_that_do_not_fit_the_scene_check_are_refused(changes: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ModelFileError, match=re.escape(refusal)):
        parse(scene_file(**changes))


def test_a_scene_check_without_its_initialisers_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"the graph has no initialiser 'andon\.scene_center'"):
        parse(edited(FRAMES, put("input.scene", msgspec.to_builtins(SCENE))))


def test_a_file_of_schema_1_0_has_no_scene_check() -> None:
    with pytest.raises(ModelFileError, match=r"unknown initialiser 'andon\.scene_center'"):
        parse(edited(scene_file(), put("schema", [1, 0])))


@pytest.mark.parametrize("code", [3, 4, *range(71, 84)])
def test_reserved_reasons_have_names_and_words(code: int) -> None:
    assert Reason(code).code
    assert Reason(code).text


# files of schema 1.0


def old(data: bytes) -> bytes:
    """Return the file as schema 1.0 wrote it, as far as a test needs it."""
    return edited(data, put("schema", [1, 0]))


def test_the_checkpoint_of_an_old_file_becomes_a_field() -> None:
    assert parse(old(edited(WINDOWS, put("settings", {"checkpoint_epoch": 7})))).card.checkpoint_epoch == 7
    assert parse(edited(WINDOWS, put("settings", {"checkpoint_epoch": 7}))).card.checkpoint_epoch is None


@pytest.mark.parametrize(
    ("settings", "noted"), [({"beta": 0.0}, True), ({"beta": 0.1}, False), ({"beta": "no"}, False)]
)
def test_an_old_file_of_an_autoencoder_whose_prior_has_no_say_is_noted(
    settings: dict[str, object], noted: bool
) -> None:
    notes = parse(old(edited(WINDOWS, put("settings", settings)))).card.notes

    assert notes == (("beta 0: a plain autoencoder; the prior has no effect",) if noted else ())


def test_a_log_entry_of_schema_1_0_keeps_its_text_and_its_digest_when_the_file_is_written_again() -> None:
    data = model_bytes(WINDOW, calibrations=2)
    model = parse(data)
    before = forge.text(data, "andon.calibration_log")
    assert '"reason"' not in before
    assert '"move"' not in before
    entry = replace(model.log[-1], reason="a new lamp")
    calibration = model.card.calibration
    assert isinstance(calibration, Calibration)
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)

    again = seal(data, card=model.card, golden=None, log=append_log(model.log, entry), tail=tail)

    after = forge.text(again, "andon.calibration_log")
    assert after.startswith(before[:-1])
    assert parse(again).log[-1].reason == "a new lamp"
    assert isinstance(parse(again).log[0], LogEntry)


# the tolerance


def test_a_device_passes_within_the_tolerance_of_the_file() -> None:
    model = parse(FRAMES)
    assert model.golden is not None
    off = replace(model.golden, score=model.golden.score + 1e-3 * 0.25)
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)

    def detector(tolerance: float) -> Detector:
        card = replace(model.card, tolerance=tolerance)
        return Detector.from_bytes(seal(FRAMES, card=card, golden=off, log=model.log, tail=tail))

    detector(0.01).verify()
    with pytest.raises(DeviceError, match="golden sample"):
        detector(1e-4).verify()


def test_context_and_channels_are_compared() -> None:
    spec = replace(WINDOW, context=Context(channel="flow", by="value", bounds=(1.0, 2.0)))
    model = parse(model_bytes(spec))

    assert isinstance(model.card.input, WindowSpec)
    assert model.card.input.context == spec.context
