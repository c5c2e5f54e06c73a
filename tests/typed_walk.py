"""A walk through the package with jaxtyping and beartype checking every call; test_runtime_types.py runs it."""

from jaxtyping import install_import_hook

with install_import_hook("slamjax", "type_checker.checked"):
    import importlib
    import pkgutil

    import slamjax

    for module in pkgutil.walk_packages(slamjax.__path__, "slamjax."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)

import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
from helpers import DATA, miles, xp_giants

warnings.simplefilter("ignore")
folder = Path(tempfile.mkdtemp())
labels = ("teff", "logg", "fe_h")
recipe = slamjax.Recipe.make(wave_range=(500, 530), wave_unit="nm", continuum="gaussian:50nm")
train, test = xp_giants()[:60], xp_giants()[60:64]
options = dict(recipe=recipe, noise="diagonal", search=slamjax.SearchSpec(folds=2))

for emulator in (slamjax.SVR(C=10, epsilon=0.05, gamma=0.1), slamjax.Polynomial(degree=2)):
    model = slamjax.train(train, labels, emulator=emulator, **options)
    model.write(folder / "model.h5")
    model = slamjax.Model.read(folder / "model.h5")
    model([4800.0, 2.5, -0.1])
    slamjax.describe(model)
    slamjax.write_labels(slamjax.fit(model, test), folder / "labels.fits")
    slamjax.read_labels(folder / "labels.fits")
    jax.grad(lambda x, emulator=model.emulator: emulator(x).sum())(np.array([4800.0, 2.5, -0.1], np.float32))

slamjax.fit(model.compress() if hasattr(model.host_emulator, "blocks") else model, test, nuisances=None)
slamjax.validate(model, xp_giants()[60:80]).to_table()
slamjax.write_table(train, folder / "stars.fits")
slamjax.fit_table(model, folder / "stars.fits", part_size=32)
slamjax.fit_survey(model, folder / "stars.fits", folder / "survey.fits", piece_size=32)
slamjax.crlb(model, np.array([4800.0, 2.5, -0.1]), np.full(len(model.wave), 1e6))
spectra = slamjax.read([str(DATA / "surveys" / "spec-3586-55181-0500.fits")])
observed = slamjax.train(
    miles()[:60],
    labels,
    log_labels=["teff"],
    emulator=slamjax.Polynomial(degree=2),
    noise="diagonal",
    recipe=slamjax.Recipe.make(continuum="gaussian:10nm"),
    search=slamjax.SearchSpec(folds=2),
)
slamjax.measure_rv(observed, spectra)
slamjax.fit(observed, miles()[60:62], nuisances=slamjax.Nuisances(rv="free", sigma_v="free", polynomial=2), n_starts=1)
posterior = slamjax.sample(model, test[:2], sampler=slamjax.SamplerSpec(method="importance", draws=100))
posterior.table()
print("walked")
