"""Several models with labels in common, for all that was observed of a star."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.forward.coordinates import Coordinate
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.extinction import curve_of
from slamjax.forward.joint import Arm, JointEmulator, SharedPrior
from slamjax.forward.nuisances import UNITS, Free, Nuisances
from slamjax.forward.resolution import own_resolution
from slamjax.model.model import Model
from slamjax.noise.joint import JointNoise, Span

#: (name of a model, number of spectra) of each model of which a star has spectra.
Layout = tuple[tuple[str, int], ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class JointParts:
    """All that a joint fit of stars of one layout computes with, on the device; a pytree.

    ``units`` are those of the flux of each model.
    """

    emulator: JointEmulator
    noise: JointNoise
    low: Any
    high: Any
    units: tuple[float, ...] = field(metadata={"static": True})


class _Places:
    """Where nuisances stand behind n labels among the joint parameters, and the bounds of all of them."""

    def __init__(self, n: int, low: np.ndarray, high: np.ndarray, shared: set[str]) -> None:
        self.n, self.low, self.high, self.shared = n, list(low), list(high), shared
        self.priors: list[SharedPrior] = []
        self._common: dict[str, tuple[int, Coordinate]] = {}

    def add(
        self, forward: ForwardEmulator, n_visits: int, gaussian: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray, tuple[tuple[int, ...], ...]]:
        """Units and origins of a model's nuisances, and the places of those of each of its spectra."""
        scales, columns = [], []
        for name, low, high in zip(forward.free, *forward.bounds(), strict=True):
            if name not in self.shared:
                scales.append((1.0, 0.0))
                columns.append(self._next(n_visits, low, high))
                continue
            coordinate = forward.coordinate_of(name)
            if name not in self._common:
                (place,) = self._next(1, low, high)
                self._common[name] = (place, coordinate)
                if name in gaussian:
                    self.priors.append(SharedPrior(name, place, coordinate, gaussian[name]))
            place, theirs = self._common[name]
            unit, origin = coordinate.of_other(theirs)
            # what one model allows and another does not is a resolving power between theirs
            self.low[place] = max(self.low[place], (float(low) - origin) / unit)
            scales.append((unit, origin))
            columns.append([place] * n_visits)
        units, origins = np.array(scales, float).reshape(-1, 2).T
        return units, origins, tuple(tuple(column[k] for column in columns) for k in range(n_visits))

    def _next(self, count: int, low: float, high: float) -> list[int]:
        first, self.n = self.n, self.n + count
        self.low += [float(low)] * count
        self.high += [float(high)] * count
        return list(range(first, self.n))


class JointModel:
    """Models with labels in common: of several surveys, arms, or of spectra and photometry.

    Each model keeps its wavelengths, recipe, noise and calibration. Labels of the same name are the same label, and a
    model may lack some: labels are those of all models together.

    Parameters
    ----------
    models : mapping of str to Model
    nuisances : mapping of str to Nuisances, optional
        Of the spectra of some of the models: each spectrum has its own velocity, width, polynomial, ….
    shared : sequence of str
        Free nuisances that are the same in all spectra of a star, under whichever model: "rv", "sigma_v", "vsini",
        "resolution", "extinction", "r_v".

    Raises
    ------
    SlamError
        If the models have no label in common, learn one in different ways or units, share nuisances they lack, or
        cannot have the nuisances that are given.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> blue, red = (slamjax.Recipe.make(wave_range=at, wave_unit="nm") for at in ((500, 560), (600, 660)))
    >>> options = {"emulator": slamjax.Polynomial(), "noise": "diagonal"}
    >>> model = slamjax.JointModel({
    ...     "blue": slamjax.train(stars[:100], ["teff"], recipe=blue, **options),
    ...     "red": slamjax.train(stars[:100], ["teff", "logg"], recipe=red, **options),
    ... })
    >>> model
    JointModel(teff, logg; blue: teff; red: teff, logg)
    >>> flux = model.emulator({"blue": 1, "red": 2})([4500.0, 2.0])
    >>> {name: each.shape for name, each in flux.items()}
    {'blue': (1, 31), 'red': (2, 31)}
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        nuisances: Mapping[str, Nuisances] | None = None,
        shared: Sequence[str] = (),
    ) -> None:
        if not models:
            raise SlamError("a joint model needs at least one model")
        given = dict(nuisances or {})
        unknown = set(given) - set(models)
        if unknown:
            raise SlamError(f"nuisances are given for {min(unknown)!r}; the models are {', '.join(models)}")
        for name, each in given.items():
            facts = models[name]._pixel_facts
            try:
                own_resolution(each, facts), curve_of(each, facts)
            except SlamError as error:
                raise SlamError(f"nuisances of {name!r}: {error}") from None
        wrong = set(shared) - set(UNITS)
        if wrong:
            raise SlamError(f"shared is {min(wrong)!r}; give some of {', '.join(UNITS)}")
        for name in shared:
            priors = {str(each.prior(name)) for each in given.values() if name in each.free}
            if not priors:
                raise SlamError(f"{name} is shared, but is no free nuisance of any model")
            if len(priors) > 1:
                raise SlamError(f"{name} is shared, but has several priors: {', '.join(sorted(priors))}; give one")
        self.models = dict(models)
        self.nuisances = {name: given.get(name, Nuisances()) for name in models}
        self.shared = tuple(name for name in UNITS if name in shared)
        self._cache: dict[Any, Any] = {}
        self._check_labels()
        both = set(self.shared) & set(self.label_names)
        if both:
            raise SlamError(f"{min(both)} is shared and a label, too; have it as one of them")

    def _check_labels(self) -> None:
        units: dict[str, str] = {}
        logs: dict[str, bool] = {}
        for name, model in self.models.items():
            log = model.host_emulator.scaling.log
            for label, unit, as_log in zip(model.label_names, model.info.label_units, log, strict=True):
                if unit and (units.setdefault(label, unit) != unit):
                    raise SlamError(f"label {label!r} is in {unit} in {name!r}, in {units[label]} elsewhere")
                if logs.setdefault(label, as_log) != as_log:
                    raise SlamError(
                        f"label {label!r} is learnt in log10 by some of the models; train all of them alike"
                    )
        for label in self.label_names:
            if not np.diff(self._range(label, tuple(self.models)))[0] > 0:
                raise SlamError(
                    f"the models' ranges of {label!r} do not overlap; no star can be labelled by all of them"
                )
        first, *others = (set(model.label_names) for model in self.models.values())
        if others and not first.intersection(*others):
            raise SlamError("the models have no label in common; fit their spectra apart")

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Labels of all models, those of the first one first."""
        return tuple(dict.fromkeys(label for model in self.models.values() for label in model.label_names))

    @cached_property
    def label_units(self) -> tuple[str, ...]:
        units = {
            label: unit
            for model in self.models.values()
            for label, unit in zip(model.label_names, model.info.label_units, strict=True)
            if unit
        }
        return tuple(units.get(label, "") for label in self.label_names)

    @cached_property
    def scaling(self) -> LabelScaling:
        """Of the joint labels: each as the first model that has it."""
        center, width, log = [], [], []
        for label in self.label_names:
            model = next(model for model in self.models.values() if label in model.label_names)
            scaling, k = model.host_emulator.scaling, model.label_names.index(label)
            center.append(float(np.asarray(scaling.center)[k]))
            width.append(float(np.asarray(scaling.width)[k]))
            log.append(scaling.log[k])
        return LabelScaling(np.array(center), np.array(width), tuple(log))

    def __repr__(self) -> str:
        parts = [f"{name}: {', '.join(model.label_names)}" for name, model in self.models.items()]
        return f"JointModel({', '.join(self.label_names)}; {'; '.join(parts)})"

    def positions(self, name: str) -> tuple[int, ...]:
        """Of a model's labels among the joint ones."""
        return tuple(self.label_names.index(label) for label in self.models[name].label_names)

    def affine(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(L',) factors and offsets from joint scaled labels to a model's."""
        own, at = self.models[name].host_emulator.scaling, np.array(self.positions(name))
        width, center = (np.asarray(each, float)[at] for each in (self.scaling.width, self.scaling.center))
        own_width = np.asarray(own.width, float)
        return width / own_width, (center - np.asarray(own.center, float)) / own_width

    def own_labels(self, name: str, x: np.ndarray) -> np.ndarray:
        """(N, L') a model's scaled labels at joint ones (N, L), on the host."""
        factor, offset = self.affine(name)
        return np.asarray(x[:, np.array(self.positions(name))] * factor + offset)

    def _range(self, label: str, names: Sequence[str]) -> np.ndarray:
        """Scaled range that all of the models have; of a label that none of them has, that of all models."""
        having = [name for name in names if label in self.models[name].label_names]
        having = having or [name for name in self.models if label in self.models[name].label_names]
        k, ends = self.label_names.index(label), []
        for name in having:
            factor, offset = self.affine(name)
            j = self.positions(name).index(k)
            stars = self.models[name].training_labels
            box = np.array([np.asarray(stars.low, float)[j], np.asarray(stars.high, float)[j]])
            ends.append((box - offset[j]) / factor[j])
        low, high = np.array(ends).T
        return np.array([low.max(), high.min()])

    def box(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(L,) bounds of the joint scaled labels of stars with spectra of these models."""
        low, high = np.array([self._range(label, names) for label in self.label_names]).T
        return low, high

    def emulator(self, spectra: Mapping[str, int]) -> JointEmulator:
        """All spectra of a star as functions of its labels, in physical flux, on the device.

        Parameters
        ----------
        spectra : mapping of str to int
            How many spectra of each model.

        Returns
        -------
        JointEmulator
        """
        layout = tuple((name, int(spectra[name])) for name in self.models if spectra.get(name, 0) > 0)
        unknown = set(spectra) - set(self.models)
        if unknown or not layout:
            raise SlamError(f"spectra are {dict(spectra)}; give numbers of spectra of {', '.join(self.models)}")
        on_device: JointEmulator = jax.tree_util.tree_map(jnp.asarray, self._assembled(layout, False).emulator)
        return on_device

    def parts(self, layout: Layout) -> JointParts:
        """What a fit of stars with such spectra computes with; made once per precision."""
        key = ("parts", layout, str(jax.dtypes.canonicalize_dtype(float)))
        if key not in self._cache:
            parts = self._assembled(layout, True)
            with jax.ensure_compile_time_eval():
                self._cache[key] = jax.tree_util.tree_map(jnp.asarray, parts)
        return self._cache[key]

    def _assembled(self, layout: Layout, scaled: bool) -> JointParts:
        """On the host; ``scaled``: of flux in units near the training stars' spread."""
        places = _Places(len(self.label_names), *self.box([name for name, _ in layout]), set(self.shared))
        arms, blocks, units, first = [], [], [], 0
        for name, n_visits in layout:
            model, (nuisances, gaussian) = self.models[name], self._own_nuisances(name)
            unit = model.host_emulator.flux_unit() if scaled else 1.0
            emulator = model.host_emulator.in_unit(unit)
            forward = ForwardEmulator.from_emulator(
                emulator.padded() if scaled else emulator, model.wave, nuisances, model._pixel_facts
            )
            span = Span(first, n_visits, model.wave.size)
            first = span.end
            factors, origins, behind = places.add(forward, n_visits, gaussian)
            arms.append(Arm(forward, *self.affine(name), factors, origins, span, self.positions(name), behind, name))
            units.append(unit)
            blocks.append(model.noise.in_unit(unit))
        emulators = JointEmulator(tuple(arms), self.scaling, tuple(places.priors), places.n)
        noise = JointNoise(tuple(blocks), tuple(arm.span for arm in arms))
        return JointParts(emulators, noise, np.array(places.low), np.array(places.high), tuple(units))

    def _own_nuisances(self, name: str) -> tuple[Nuisances, dict[str, Any]]:
        """A model's nuisances, without the Gaussian priors of those that all spectra share; these."""
        nuisances: Any = self.nuisances[name]
        gaussian = {}
        for each in self.shared:
            prior: Any = nuisances.prior(each)
            if prior is not None and prior.is_gaussian:
                gaussian[each] = prior
                nuisances = dataclasses.replace(nuisances, **{each: Free(*nuisances.bounds(each))})
        return nuisances, gaussian

    def compressed(self) -> JointModel:
        """The same with large emulators compressed where that loses nothing (`Model.quick`); made once."""
        if "quick" not in self._cache:
            models = {name: model.quick() for name, model in self.models.items()}
            same = all(models[name] is self.models[name] for name in models)
            self._cache["quick"] = self if same else self.with_models(models)
        return self._cache["quick"]

    def with_models(self, models: Mapping[str, Model]) -> JointModel:
        """The same with some models replaced."""
        given = {name: each for name, each in self.nuisances.items() if each.anything}
        return JointModel(self.models | dict(models), nuisances=given, shared=self.shared)


def joint_model(models: JointModel | Mapping[str, Model], nuisances: Any = None) -> JointModel:
    """A joint model as it is, or from a mapping of models and one of their nuisances."""
    if isinstance(nuisances, Nuisances):
        raise SlamError("nuisances belong to one of the models; give them as {name of the model: Nuisances(...)}")
    if not isinstance(models, JointModel):
        return JointModel(models, nuisances=nuisances)
    if nuisances is not None:
        raise SlamError("a JointModel has its nuisances already; give them when it is made")
    return models
