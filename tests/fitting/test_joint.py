"""Stars with several spectra: one fit of all of them, and what each adds."""

from functools import cache

import jax
import numpy as np
import pytest
from models import LABELS, all_miles_model, giants_model, held_out, many_giants

import slamjax
from slamjax import Flag, Observations, SlamError
from slamjax.forward.nuisances import Free, Nuisances
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model

MOVING = Nuisances(rv=Free(-60, 60))
NAMES = ("teff", "logg", "fe_h")


def values(table, name):
    return np.asarray(table[name], float)


@cache
def visits(n=60, k=3, spread=20.0, snr=60.0):
    """Stars at rest by the emulator, each seen k times at its own velocities, with the star's own emulator error."""
    model = prepared_model(all_miles_model())
    rng = np.random.default_rng(3)
    stars = np.asarray(model.training_labels.stars)
    pairs = rng.integers(0, len(stars), (n, 2))
    labels = np.asarray(model.host_emulator.scaling.inverse(0.7 * stars[pairs[:, 0]] + 0.3 * stars[pairs[:, 1]]))
    velocity = rng.normal(0, spread, (n, k))
    forward = model.with_nuisances(MOVING)
    flux = np.asarray(jax.jit(lambda x, v: forward(x, rv=v))(np.repeat(labels, k, axis=0), velocity.ravel()))
    common = np.asarray(model.noise.on_device().draw(jax.random.key(5), np.full((n, flux.shape[1]), np.inf, "f4")))
    ivar = np.full(flux.shape, snr**2)
    flux = flux + np.repeat(common, k, axis=0) + rng.normal(size=flux.shape) / snr
    star = np.repeat(np.arange(n), k)
    table = {"star": star, "visit": np.tile(np.arange(k), n)}
    spectra = Spectra(model.wave, flux, ivar, table, "Angstrom", medium="air", frame="rest")
    return model, spectra, labels, velocity


@cache
def fitted():
    model, spectra, *_ = visits()
    return slamjax.fit({"visits": model}, Observations({"visits": spectra}, "star"), nuisances={"visits": MOVING})


def test_one_spectrum_is_a_plain_fit():
    model, stars = giants_model(), many_giants()[1][:30]
    plain, joint = slamjax.fit(model, stars), slamjax.fit({"xp": model}, {"xp": stars}).labels
    for name in LABELS:
        error = values(plain, f"{name}_err")
        assert np.nanmax(np.abs(values(joint, name) - values(plain, name)) / error) < 0.02
        np.testing.assert_allclose(values(joint, f"{name}_err"), error, rtol=2e-3)
    np.testing.assert_allclose(joint["chi2"], plain["chi2"], rtol=1e-3)
    assert np.mean(joint["flags"] == plain["flags"]) > 0.9


def test_one_spectrum_with_nuisances_is_a_plain_fit():
    model, spectra, *_ = visits()
    nuisances = Nuisances(rv=Free(-60, 60), polynomial=1)
    plain = slamjax.fit(model, spectra[:20], nuisances=nuisances)
    joint = slamjax.fit({"a": model}, {"a": spectra[:20]}, nuisances={"a": nuisances})
    for name in NAMES:
        assert np.max(np.abs(values(joint.labels, name) - values(plain, name)) / values(plain, f"{name}_err")) < 0.02
        np.testing.assert_allclose(values(joint.labels, f"{name}_err"), values(plain, f"{name}_err"), rtol=3e-3)
    assert np.max(np.abs(values(joint.spectra, "rv") - values(plain, "rv")) / values(plain, "rv_err")) < 0.02
    np.testing.assert_allclose(values(joint.spectra, "rv_err"), values(plain, "rv_err"), rtol=3e-3)


def test_visits_give_labels_and_velocities_within_their_errors():
    _, _, labels, velocity = visits()
    table, spectra = fitted().labels, fitted().spectra
    good = (np.asarray(table["flags"]) & ~int(Flag.VARIABLE_VELOCITY)) == 0
    assert good.mean() > 0.9
    pulls = [
        (values(table, name) - labels[:, k])[good] / values(table, f"{name}_err")[good] for k, name in enumerate(NAMES)
    ]
    assert 0.8 < np.std(pulls) < 1.3
    rv = (values(spectra, "rv") - velocity.ravel()) / values(spectra, "rv_err")
    assert 0.8 < np.std(rv[np.repeat(good, 3)]) < 1.25


@pytest.mark.long
def test_more_visits_help_against_photon_noise_only():
    model, spectra, *_ = visits()
    first = spectra[spectra.values("visit") == 0]
    alone = slamjax.fit({"visits": model}, Observations({"visits": first}, "star"), nuisances={"visits": MOVING}).labels
    three = fitted().labels
    for name in NAMES:
        ratio = np.median(values(three, f"{name}_err") / values(alone, f"{name}_err"))
        assert 1 / np.sqrt(3) < ratio < 0.98


def test_velocities_that_differ_are_flagged():
    table = fitted().labels
    varies = (np.asarray(table["flags"]) & Flag.VARIABLE_VELOCITY) > 0
    assert varies.mean() > 0.9  # of 20 km/s
    model, spectra, labels, _ = visits()
    steady = slamjax.fit(
        {"visits": model}, Observations({"visits": steady_visits(spectra, model, labels)}, "star"),
        nuisances={"visits": MOVING},
    ).labels  # fmt: skip
    assert np.mean(np.asarray(steady["rv_p"]) < 0.05) < 0.2
    assert not np.any(np.asarray(steady["flags"]) & Flag.VARIABLE_VELOCITY)


def test_wavelengths_that_drift_make_no_variable_velocity():
    """Where they drift by far more than photon noise moves velocities, χ² is that of the drift alone."""
    model, spectra, *_ = visits()
    some, floor = Observations({"visits": spectra[:15]}, "star"), 500.0
    joint = slamjax.JointModel({"visits": model}, nuisances={"visits": MOVING})
    found = slamjax.JointFitter(joint, velocity_floor=floor).fit(some, False)
    assert not np.any(np.asarray(found.labels["flags"]) & Flag.VARIABLE_VELOCITY)
    each = values(found.spectra, "rv").reshape(-1, 3)
    expected = np.sum(np.square(each - each.mean(axis=1, keepdims=True)), axis=1) / floor**2
    np.testing.assert_allclose(values(found.labels, "rv_chi2"), expected, rtol=0.05)
    with pytest.raises(SlamError, match="velocity_floor is -1"):
        slamjax.JointFitter(joint, velocity_floor=-1.0)


def test_a_velocity_that_all_spectra_share_is_one_measurement():
    model, spectra, labels, _ = visits()
    steady = steady_visits(spectra, model, labels)[:15]
    shared = slamjax.JointModel({"visits": model}, nuisances={"visits": MOVING}, shared=["rv"])
    found = slamjax.fit(shared, Observations({"visits": steady}, "star"))
    for name in ("rv", "rv_err"):
        np.testing.assert_allclose(np.repeat(values(found.labels, name), 3), values(found.spectra, name), rtol=1e-6)
    assert np.isnan(values(found.labels, "rv_p")).all()
    apart = slamjax.fit({"visits": model}, Observations({"visits": steady}, "star"), nuisances={"visits": MOVING})
    assert np.all(values(found.labels, "rv_err") < 1.05 * values(apart.labels, "rv_err"))


def steady_visits(spectra, model, labels):
    rng = np.random.default_rng(8)
    flux = np.repeat(np.asarray(model(labels)), 3, axis=0)
    common = rng.normal(size=labels.shape[0] * flux.shape[1]).reshape(len(labels), -1)
    common *= np.sqrt(np.where(np.isfinite(model.noise.model_variance), model.noise.model_variance, 0))
    noisy = flux + np.repeat(common, 3, axis=0) + rng.normal(size=flux.shape) / 60
    return Spectra(
        model.wave, noisy, spectra.ivar, {"star": spectra.values("star").astype(int)}, "Angstrom", medium="air",
        frame="rest",
    )  # fmt: skip


def test_a_star_does_not_depend_on_the_others_or_on_empty_visits():
    model, spectra, *_ = visits()
    wanted = fitted().labels[:2]
    blank = spectra[:1]._with(ivar=np.zeros_like(spectra.ivar[:1]), table=spectra.table[:1])
    flux, ivar = (np.concatenate([getattr(each, name) for each in (spectra[:6], blank)]) for name in ("flux", "ivar"))
    star = np.append(spectra.values("star")[:6], 0).astype(int)
    padded = Spectra(model.wave, flux, ivar, {"star": star}, "Angstrom", medium="air", frame="rest")
    found = slamjax.fit(
        {"visits": model}, Observations({"visits": padded}, "star"), nuisances={"visits": MOVING}
    ).labels
    for name in NAMES:
        difference = np.abs(values(found, name) - values(wanted, name)) / values(wanted, f"{name}_err")
        assert difference.max() < 0.02
        np.testing.assert_allclose(values(found, f"{name}_err"), values(wanted, f"{name}_err"), rtol=1e-3)
    assert list(found["n_visits"]) == [4, 3]


@cache
def halves():
    """Two models of one star's pixels each: blue and red halves of the giants' spectra."""
    stars, others = many_giants()
    options = {"emulator": slamjax.Polynomial(), "noise": "diagonal", "search": slamjax.SearchSpec(folds=2)}
    models = {}
    for name, at in (("blue", (500, 560)), ("red", (561, 620))):
        recipe = slamjax.Recipe.make(wave_range=at, wave_unit="nm", continuum="gaussian:50nm")
        labels = ["teff", "logg"] if name == "blue" else ["teff", "fe_h"]
        models[name] = slamjax.train(stars[:200], labels, recipe=recipe, **options)
    return models, others[:30]


def test_two_models_know_more_than_each_alone():
    models, stars = halves()
    joint = slamjax.fit(models, dict.fromkeys(models, stars)).labels
    assert joint.label_names == ("teff", "logg", "fe_h")
    for model in models.values():
        alone = slamjax.fit(model, stars)
        ratio = values(joint, "teff_err") / values(alone, "teff_err")
        assert np.median(ratio) < 0.98
    assert np.all(np.isfinite(values(joint, "chi2_blue")) & np.isfinite(values(joint, "chi2_red")))


def test_a_label_without_spectra_is_unconstrained():
    models, stars = halves()
    one, other = ({"name": [f"star {k}" for k in at]} for at in (range(4), range(2)))
    observed = Observations(
        {"blue": stars[:4]._with(table=Spectra(stars.wave, stars.flux[:4], table=one, wave_unit="nm").table),
         "red": stars[:2]._with(table=Spectra(stars.wave, stars.flux[:2], table=other, wave_unit="nm").table)},
        star="name",
    )  # fmt: skip
    table = slamjax.fit(models, observed).labels
    assert list(table["star"]) == [f"star {k}" for k in range(4)]
    assert list(np.isfinite(values(table, "fe_h_err"))) == [True, True, False, False]
    assert np.all(np.asarray(table["flags"])[2:] & Flag.UNCONSTRAINED)
    assert np.isfinite(values(table, "logg_err")).all()


@pytest.mark.long
def test_labels_known_from_elsewhere_pull_a_fit():
    models, stars = halves()
    given = dict.fromkeys(models, stars[:8])
    free, held = (slamjax.fit(models, given, prior=prior).labels for prior in (None, {"logg": (2.0, 1e-3)}))
    np.testing.assert_allclose(values(held, "logg"), 2.0, atol=5e-3)
    assert np.all(values(held, "teff_err") <= values(free, "teff_err") * 1.05)
    unknown = slamjax.fit(models, given, prior={"logg": (np.full(8, np.nan), 1e-3)}).labels
    np.testing.assert_allclose(values(unknown, "logg"), values(free, "logg"), atol=1e-3)


def test_a_star_without_data_is_a_flagged_row():
    models, stars = halves()
    blank = stars[:3]._with(ivar=np.concatenate([np.zeros_like(stars.ivar[:1]), stars.ivar[1:3]]))
    table = slamjax.fit(models, dict.fromkeys(models, blank)).labels
    assert table["flags"][0] == Flag.NO_DATA
    assert np.isnan(table["teff"][0])
    assert np.isinf(table["teff_err"][0])
    assert np.isfinite(values(table, "teff")[1:]).all()


def test_measured_velocities_are_refined_at_the_joint_labels():
    model, spectra, _, velocity = visits()
    observed = spectra[:30]._with(frame="observed")
    joint = slamjax.fit({"visits": model}, Observations({"visits": observed}, "star"))
    rv = (values(joint.spectra, "rv") - velocity.ravel()[:30]) / values(joint.spectra, "rv_err")
    assert np.median(np.abs(rv)) < 1.5
    assert len(joint.labels) == 10
    assert np.isfinite(values(joint.labels, "rv")).all()


@pytest.mark.parametrize(
    ("models", "stars", "message"),
    [
        (lambda: {"xp": giants_model()}, lambda: {"lamost": held_out()[:2]}, "'lamost' have no model"),
        (lambda: {"xp": giants_model()}, lambda: {"xp": held_out()[:2], "b": held_out()[:3]}, "star="),
        (lambda: {}, lambda: {"xp": held_out()[:2]}, "at least one model"),
        (lambda: {"xp": giants_model()}, lambda: {"xp": "spectra.fits"}, "read them first"),
    ],
)
def test_what_does_not_go_together_is_told(models, stars, message):
    with pytest.raises(SlamError, match=message):
        slamjax.fit(models(), stars())


def test_visits_must_state_their_errors():
    model, spectra, *_ = visits()
    unstated = spectra[:6]._with(ivar=np.full_like(spectra.ivar[:6], np.inf))
    with pytest.raises(SlamError, match="star 0 has several spectra of 'visits'"):
        slamjax.fit({"visits": model}, Observations({"visits": unstated}, "star"))
