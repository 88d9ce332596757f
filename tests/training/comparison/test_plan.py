"""Plans of comparisons: from texts to cells, from cells to folders, and shares of cells."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.calibration.request import PromiseRequest
from andon.foundation.errors import ConfigError
from andon.foundation.settings import fields, from_mapping
from andon.training.comparison.plan import (
    DataSet,
    Plan,
    cells,
    folder_name,
    parse_data,
    parse_detector,
    parse_share,
    read_plan,
    share,
)
from andon.training.detectors import patchcore, unet_autoencoder, window_vae
from andon.training.recipe.recipe import detectors, recipe
from andon.training.runs.window_choice import WindowRequest

patchcore_settings = st.builds(
    patchcore.Settings,
    preset=st.sampled_from(["fast", "standard", "fine"]),
    size=st.none() | st.sampled_from([224, 512]),
    taps=st.none() | st.just((4, 7, 10)),
    download=st.booleans(),
    weights=st.none() | st.sampled_from(["a b.pth", "it's.pth", "dir/x.pth"]),
    share=st.floats(0.001, 1.0),
)
unet_settings = st.builds(
    unet_autoencoder.Settings,
    mixed_precision=st.booleans(),
    narrow=st.integers(1, 32),
    learning_rate=st.floats(1e-9, 1.0),
)
vae_settings = st.builds(window_vae.Settings, widths=st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple))

ALL_DETECTORS = ("patchcore", "window_vae", "patchcore --preset fast", "unet_autoencoder")


@given(
    detectors=st.integers(1, 4),
    sets=st.integers(1, 5),
    seeds=st.integers(1, 4),
    of=st.integers(1, 90),
)
def test_shares_are_a_partition_of_the_cells_with_as_much_of_each_detector_and_set(
    detectors: int, sets: int, seeds: int, of: int
) -> None:
    listed = cells(_plan(*"abcde"[:sets], detectors=ALL_DETECTORS[:detectors], seeds=range(seeds)))

    shares = [share(listed, which, of) for which in range(1, of + 1)]

    assert sorted(cell.folder for one in shares for cell in one) == sorted(cell.folder for cell in listed)
    assert all(one == [cell for cell in listed if cell in one] for one in shares)
    assert shares == [share(listed, which, of) for which in range(1, of + 1)]
    for alike in (
        lambda _cell: 0,
        lambda cell: cell.choice.name,
        lambda cell: (cell.choice.name, cell.data.name),
    ):
        counts = [Counter(alike(cell) for cell in one) for one in shares]
        for what in map(alike, listed):
            assert max(count[what] for count in counts) - min(count[what] for count in counts) <= 1


def test_two_detectors_in_two_shares_are_half_of_each_in_both() -> None:
    listed = cells(_plan("a", detectors=ALL_DETECTORS[:2], seeds=(0, 1)))

    for which in (1, 2):
        assert [cell.choice.name for cell in share(listed, which, 2)] == list(ALL_DETECTORS[:2])


@given(settings=patchcore_settings | unet_settings | vae_settings)
def test_a_detectors_name_read_again_gives_the_same_settings(settings: msgspec.Struct) -> None:
    recipe = {patchcore.Settings: "patchcore", unet_autoencoder.Settings: "unet_autoencoder"}.get(
        type(settings), "window_vae"
    )
    values = msgspec.to_builtins(settings)
    choice = parse_detector(
        " ".join(
            [
                recipe,
                *(
                    (f"--{'' if value else 'no-'}{name.replace('_', '-')}")
                    if isinstance(value, bool)
                    else f'--{name.replace("_", "-")} "{_flag(value)}"'
                    for name, value in values.items()
                ),
            ]
        )
    )

    assert choice.settings == settings
    assert parse_detector(choice.name) == choice


def _flag(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@given(one=st.text(min_size=1, max_size=120), other=st.text(min_size=1, max_size=120))
def test_a_folders_name_is_one_everywhere_and_tells_two_texts_apart(one: str, other: str) -> None:
    name = folder_name(one)

    assert re.fullmatch(r"[A-Za-z0-9._,=-]+", name)
    assert name.strip(".") != ""
    assert not name.endswith(".")
    assert len(name) < 100
    # spaces become dashes, or disappear before two dashes; a digest stands for all other removed characters
    assert name != folder_name(other) or re.sub("[ -]", "", one) == re.sub("[ -]", "", other)


@pytest.mark.parametrize(
    ("text", "name", "folder"),
    [
        ("patchcore", "patchcore", "patchcore"),
        ("patchcore --preset=fast", "patchcore --preset fast", "patchcore--preset-fast"),
        ("patchcore --preset standard", "patchcore", "patchcore"),
        ("patchcore --taps 4x7", "patchcore --taps 4,7", "patchcore--taps-4,7"),
        ("unet_autoencoder --no-mixed-precision --size 64", None, "unet_autoencoder--no-mixed-precision--size-64"),
        ("patchcore --weights 'a b.pth'", "patchcore --weights 'a b.pth'", r"patchcore--weights-a-b.pth-[0-9a-f]{8}"),
    ],
)
def test_a_name_says_what_differs_from_the_defaults(text: str, name: str | None, folder: str) -> None:
    choice = parse_detector(text)

    assert name is None or choice.name == name
    assert re.fullmatch(folder, folder_name(choice.name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patchcre", "there is no detector 'patchcre' (did you mean 'patchcore'?)"),
        (
            "patchcore --prset fast",
            "detector 'patchcore --prset fast': unknown argument '--prset' (did you mean '--preset'?)",
        ),
        ("patchcore --preset fst", "--preset: expected one of fast, fine, standard, got 'fst'"),
        ("patchcore fast", "unknown argument 'fast'"),
        (
            "patchcore --ignore 0,0,9,9",
            "unknown argument '--ignore', because masks belong to a data set: 'PATH --ignore MASK'",
        ),
        ("unet_autoencoder --epochs", "argument --epochs: expected one argument"),
        ("unet_autoencoder --epochs 0", "--epochs: expected an integer >= 1, got '0'"),
        ("patchcore '", "No closing quotation"),
        ("  ", "detector: expected a name"),
    ],
)
def test_a_wrong_detector_or_flag_is_told_with_the_text_it_came_in(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_detector(text)


def test_a_set_is_called_by_the_last_piece_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "sets/bottle").mkdir(parents=True)

    assert parse_data(f"{tmp_path}/sets/bottle/").name == "bottle"
    assert parse_data("good.csv --test logs/valve1").name == "valve1"
    assert parse_data("good.csv --test logs/valve1 --name pump").name == "pump"
    assert parse_data("mnist:anomaly=5,root=data/mnist").name == "mnist:anomaly=5"
    assert parse_data("with space/a b --group (?P<part>x --y)").train == "with space/a b"


@pytest.mark.parametrize("text", ["bottle --calibration-share 0.1", "bottle --calibration-share=0.1 --name bottle"])
def test_a_set_says_how_many_parts_calibration_keeps_back(text: str) -> None:
    usual, other = (cells(_plan(text))[0].key for text in ("bottle", text))

    assert parse_data(text).calibration_share == 0.1
    assert other.data == {"train": "bottle", "calibration_share": "0.1"}
    assert usual.data == {"train": "bottle"}  # the same as before this option existed


def test_a_set_has_its_own_masks_and_their_flags_may_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'detectors = ["patchcore"]\n'
        'data = [{ train = "a", ignore = ["0,0,9,9", "my date.png"], region = "region.png" }, "b --ignore 1,1,2,2", "c"]\n',
        encoding="utf-8",
    )

    of_flags = parse_data("a --ignore 0,0,9,9 --region=region.png --ignore my date.png")

    assert (of_flags.ignore, of_flags.region) == (("0,0,9,9", "my date.png"), ("region.png",))
    assert read_plan(path).sets == (of_flags, parse_data("b --ignore 1,1,2,2"), parse_data("c"))
    assert (parse_data("c").ignore, parse_data("c").region) == ((), ())


def test_a_cell_has_no_key_before_the_pixels_of_its_masks_are_read() -> None:
    (cell,) = cells(_plan("a --ignore 0,0,9,9"))

    with pytest.raises(TypeError, match="expected the pixels of ignore to be read"):
        _ = cell.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bottle --tst x", "unknown key 'tst' (did you mean 'test'?)"),
        ("bottle --test", "expected a text for 'test'"),
        ("--test x", "expected a text for 'train'"),
        ("bottle --calibration-share much", "expected a number for 'calibration_share', got 'much'"),
        ("bottle --ignore", "expected a text or a list of texts for 'ignore', got ['']"),
        ("bottle --region=0,0,9,9 --region", "expected a text or a list of texts for 'region', got ['0,0,9,9', '']"),
        ("bottle --calibration-share=", "expected a number for 'calibration_share', got ''"),
    ],
)
def test_a_wrong_set_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_data(text)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/3", "1/0"])
def test_a_share_outside_of_all_shares_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected I/N"):
        parse_share(text)


def test_cells_come_seed_by_seed_and_each_has_its_folder() -> None:
    listed = cells(_plan("a", "b", seeds=(0, 7)))

    assert [cell.folder for cell in listed] == [
        "a/patchcore/seed-0",
        "b/patchcore/seed-0",
        "a/patchcore/seed-7",
        "b/patchcore/seed-7",
    ]


@pytest.mark.parametrize(
    ("sets", "detectors", "seeds", "message"),
    [
        (["x/bottle", "y/bottle"], ["patchcore"], [0], "two data sets have the name 'bottle' (x/bottle and y/bottle)"),
        (["a"], ["patchcore", "patchcore --preset standard"], [0], "the detector 'patchcore' is listed twice"),
        (["a"], ["patchcore"], [1, 1], "the seed 1 is listed twice"),
        ([], ["patchcore"], [0], "expected at least a data set"),
        (["a"], [], [0], "expected at least a detector"),
        (["a"], ["patchcore"], [], "expected at least a seed"),
    ],
)
def test_two_cells_never_share_a_folder(sets: list[str], detectors: list[str], seeds: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        cells(_plan(*sets, detectors=detectors, seeds=seeds))


@pytest.mark.parametrize("name", detectors())
def test_a_wrong_value_of_any_setting_is_refused_in_words(name: str) -> None:
    for setting in fields(recipe(name).settings):
        with pytest.raises(ConfigError, match=rf"^here: {setting.name}: expected [^`$]*, got Ellipsis\.$"):
            from_mapping(recipe(name).settings, {setting.name: ...}, where="here")


def test_a_set_that_was_moved_with_its_folder_is_the_same_set(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "mvtec/bottle").mkdir(parents=True)
    one, other = (cells(_plan(str(tmp_path / place / "mvtec/bottle")))[0].key for place in ("here", "there"))

    assert one == other
    assert one.data == {"train": "mvtec/bottle"}


def test_a_plan_says_what_flags_say(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'detectors = ["patchcore --preset fast", { name = "small", detector = "window_vae", settings = { widths = [8] } }]\n'
        'data = ["sets/bottle", { name = "pump", train = "good.csv", test = "labelled", calibration_share = 0.2 }]\n'
        "seeds = [0, 1, 2]\npromise = { false_reject = 0.05 }\n",
        encoding="utf-8",
    )

    plan = read_plan(path)

    assert [choice.name for choice in plan.choices] == ["patchcore --preset fast", "small"]
    assert plan.choices[1].settings == window_vae.Settings(widths=(8,))
    assert [(data.name, data.tested) for data in plan.sets] == [("bottle", "sets/bottle"), ("pump", "labelled")]
    assert [data.calibration_share for data in plan.sets] == [0.3, 0.2]
    assert (plan.seeds, plan.promise) == ((0, 1, 2), PromiseRequest(false_reject=0.05))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detectors = [", "expected TOML"),
        ('detectors = ["patchcore"]\nsets = ["a"]', "unknown setting 'sets'"),
        ('detectors = [{ detector = "patchcore", setings = {} }]\ndata = ["a"]', "detectors[0]: unknown key 'setings'"),
        (
            'detectors = [{ detector = "patchcore", settings = { presett = 1 } }]\ndata = ["a"]',
            "detectors[0].settings: ",
        ),
        ('detectors = [{ settings = {} }]\ndata = ["a"]', 'expected detector = "NAME"'),
        ('detectors = ["patchcore"]\ndata = [{ path = "a" }]', "data[0]: unknown key 'path'"),
        ('detectors = ["patchcore"]\ndata = [{ train = 3 }]', "data[0]: expected a text for 'train', got 3"),
        (
            'detectors = ["patchcore"]\ndata = [{ train = "a", region = { sha256 = "0" } }]',
            "data[0]: expected a text or a list of texts for 'region', got {'sha256': '0'}",
        ),
        ('detectors = ["patchcore"]\ndata = ["a"]\nseeds = [-1]', "seeds"),
        ('detectors = ["patchcore"]\ndata = ["a"]\npromise = { rate = 1 }', "promise: unknown setting 'rate'"),
    ],
)
def test_a_mistake_in_a_plan_is_told_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        read_plan(path)

    assert str(refusal.value).startswith(str(path))


def test_a_plan_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file: No such file"):
        read_plan(tmp_path / "plan.toml")


def _plan(*sets: str, detectors: Sequence[str] = ("patchcore",), seeds: Sequence[int] = (0,)) -> Plan:
    return Plan(
        choices=tuple(parse_detector(text) for text in detectors),
        sets=tuple(parse_data(text) for text in sets),
        seeds=tuple(seeds),
    )


def test_windows_that_are_chosen_from_each_log_are_part_of_the_name_and_of_the_cell() -> None:
    choice = parse_detector("pca --steps auto --components 4")

    assert choice.window == WindowRequest(steps="auto")
    assert choice.name == "pca --components 4 --steps auto"
    assert parse_detector(choice.name) == choice
    (cell,) = cells(Plan(choices=(choice,), sets=(DataSet(train="log.csv", name="log"),)))
    assert cell.key.window == {"steps": "auto"}
    (plain,) = cells(Plan(choices=(parse_detector("pca --steps 64"),), sets=(DataSet(train="log.csv", name="log"),)))
    assert plain.key.window == {}
