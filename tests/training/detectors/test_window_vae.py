"""Tests that are specific to the window VAE."""

import math

import pytest
import torch
from msgspec import structs
from tests.training.flat import train
from tests.training.in_memory import Here, Parts

from andon.runtime.schema import Channel, WindowSpec
from andon.training.contract.synthetic_data import synthetic_log
from andon.training.detectors.window_vae import RECIPE, TINY, Settings, WindowVAE, loss, posteriors, spread
from andon.training.fitting.prepared_data import prepare_data
from andon.training.observers.epochs import NONE
from andon.training.runs.run_folder import LoadedRun

SPEC = WindowSpec(steps=8, hop=4, period_s=0.1, channels=(Channel(name="a"), Channel(name="b")))
SETTINGS = Settings(latent=3, widths=(10, 6))


def test_the_same_window_always_gives_the_same_evidence() -> None:
    vae, window = WindowVAE(SETTINGS, SPEC).eval(), torch.randn(1, 8, 2)

    assert torch.equal(vae(window).maps["error"], vae(window).maps["error"])


def test_in_training_the_latent_is_drawn() -> None:
    vae, window = WindowVAE(SETTINGS, SPEC).train(), torch.randn(4, 8, 2)

    assert loss(vae, window, 1.0, 0.0) != loss(vae, window, 1.0, 0.0)


def test_the_decoder_mirrors_the_encoder() -> None:
    linear = [module for module in WindowVAE(SETTINGS, SPEC).modules() if isinstance(module, torch.nn.Linear)]

    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (16, 10), (10, 6), (6, 3), (6, 3), (3, 6), (6, 10), (10, 16),
    ]  # fmt: skip


def silenced(mean: float, log_variance: float) -> WindowVAE:
    """Return a VAE that gives 0 for everything, with this posterior in each latent variable."""
    vae = WindowVAE(SETTINGS, SPEC).eval()
    for parameter in vae.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(vae.mean.bias, mean)
    torch.nn.init.constant_(vae.log_variance.bias, log_variance)
    return vae


def test_the_error_is_summed_over_a_window_and_averaged_over_the_batch() -> None:
    batch = torch.ones(5, 8, 2)

    assert loss(silenced(0.0, 0.0), batch, 1.0, 1.0).item() == pytest.approx(16.0)


def test_the_divergence_is_that_of_kingma_and_welling_summed_over_the_latent() -> None:
    mean, variance = 2.0, 0.25
    expected = 3 * 0.5 * (mean**2 + variance - 1 - math.log(variance))

    got = loss(silenced(mean, math.log(variance)), torch.zeros(5, 8, 2), 1.0, 0.1)

    assert got.item() == pytest.approx(0.1 * expected)


def test_a_cold_loss_has_no_divergence() -> None:
    assert loss(silenced(2.0, 0.0), torch.zeros(5, 8, 2), 0.0, 0.1).item() == 0


def test_the_window_it_wants_is_that_of_its_settings() -> None:
    spec = RECIPE.wanted_input(Settings(steps=32, hop=8), synthetic_log(10).found)

    assert isinstance(spec, WindowSpec)
    assert (spec.steps, spec.hop, spec.period_s) == (32, 8, 0.1)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    folder = tmp_path_factory.mktemp("vae") / "run"
    settings = structs.replace(TINY, latent=3, epochs=2)
    return train(
        "window_vae", synthetic_log(600), folder, settings=settings, device="cpu", threads=1, picture_epochs=NONE
    )


def test_the_distances_are_those_of_the_latent_means_from_what_was_learnt(fitted: LoadedRun) -> None:
    vae, windows = fitted.scorer, torch.randn(6, 16, 2)
    assert isinstance(vae, WindowVAE)

    with torch.no_grad():
        scores, mean = vae(windows).scores, vae.encode(windows)[0]

        assert torch.equal(scores["euclid"], vae.latent(mean).euclid)
        assert torch.equal(scores["mahalanobis"], vae.latent(mean).mahalanobis)


def test_the_centre_is_the_mean_over_the_training_part(fitted: LoadedRun) -> None:
    good = prepare_data(synthetic_log(600), fitted.recipe, fitted.settings, seed=0)
    vae = fitted.scorer
    assert isinstance(vae, WindowVAE)

    points, _ = posteriors(vae, good.train, torch.device("cpu"))

    assert vae.latent.get_buffer("center").tolist() == pytest.approx(points.mean(dim=0).tolist(), rel=1e-4, abs=1e-6)


def test_a_latent_number_that_says_nothing_diverges_by_nothing(fitted: LoadedRun) -> None:
    vae = WindowVAE(fitted.settings, fitted.spec).eval()  # type: ignore[arg-type]
    vae.load_state_dict(fitted.scorer.state_dict())
    with torch.no_grad():
        for head in (vae.mean, vae.log_variance):  # the prior, for every input
            head.weight[1], head.bias[1] = 0.0, 0.0
    good = prepare_data(synthetic_log(600), fitted.recipe, fitted.settings, seed=0)

    _, divergence = posteriors(vae, good.train, torch.device("cpu"))

    assert divergence[1] == 0
    assert divergence[0] > 0


def test_the_combination_hears_the_error_and_both_distances(fitted: LoadedRun) -> None:
    vae, windows = fitted.scorer, torch.randn(6, 16, 2)
    assert isinstance(vae, WindowVAE)

    with torch.no_grad():
        evidence = vae(windows)
        error = {"error": evidence.maps["error"].mean(dim=(1, 2))}

        assert torch.allclose(evidence.scores["combined"], vae.combination(error | evidence.scores))


@pytest.mark.parametrize("decides", ["euclid", "mahalanobis", "combined"])
def test_what_decides_is_a_score_and_the_map_stays_for_people(decides: str, fitted: LoadedRun) -> None:
    rule = RECIPE.score_rule(structs.replace(fitted.settings, decides=decides), fitted.spec)

    assert (rule.map, rule.score) == (None, decides)
    assert "error" in fitted.scorer(torch.zeros(1, 16, 2)).maps


class Watching(Here):
    """An observer of each epoch that records the scorer's state."""

    def __init__(self) -> None:
        self.centers: list[torch.Tensor] = []

    def epoch(self, scorer: torch.nn.Module, losses: object, state: object = None) -> None:
        self.centers.append(scorer.get_buffer("latent.center").clone())


@pytest.mark.parametrize("decides", ["error", "combined"])
def test_a_watched_epoch_is_judged_by_the_spread_of_its_own_latent_numbers(decides: str) -> None:
    settings = structs.replace(SETTINGS, epochs=3, batch_size=16, decides=decides)
    good, watching, vae = Parts(torch.randn(64, 8, 2), torch.randn(20, 8, 2)), Watching(), WindowVAE(settings, SPEC)

    RECIPE.fit_and_finalize(vae, good, settings, watching)

    moved = [bool(center.any()) for center in watching.centers]
    assert moved == [decides == "combined"] * 3  # not needed if the error decides
    assert vae.latent.get_buffer("center").any()


def test_where_no_latent_number_says_anything_all_of_them_count() -> None:
    vae = WindowVAE(SETTINGS, SPEC).eval()
    for head in (vae.mean, vae.log_variance):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)

    used = spread(vae, Parts(torch.randn(64, 8, 2), torch.randn(20, 8, 2)), torch.device("cpu"))

    assert not used.any()
    assert torch.equal(vae.latent.get_buffer("whitening"), torch.eye(3))
