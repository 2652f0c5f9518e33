"""Other bandit libraries, each used as its own README or tutorial says.

None of them is a dependency of the project: each is imported where it is used. Vector libraries have a model
of its own for each variant, as their documentation shows them, so they know nothing of variants' features.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

from typing import Any

import numpy as np

from bandit.core.records import FeatureValue, Variant
from battery.system import highest
from battery.vectors import Vectors
from battery.world import Context

GITTINS_BITS = 16
"""The README's example has 8, which are 256 weights for everything."""


class Mabwiser:
    """mabwiser's linear policies, one ridge regression a variant."""

    def __init__(self, policy: str, alpha: float, vectors: Vectors, seed: int) -> None:
        """`policy` is LinUCB or LinTS."""
        from mabwiser.mab import LearningPolicy

        self._policy = getattr(LearningPolicy, policy)(alpha=alpha)
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._vectors = vectors
        self._mab: Any = None
        self._fitted = False
        self._known: set[str] = set()
        self._last: tuple[str, Any] = ("", None)

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """The highest upper bound, or sample, among the eligible variants; before any reward, any of them."""
        self._meet(variants)
        vector = self._vectors(context)[None, :]
        if self._fitted:
            found = self._mab.predict_expectations(vector)
            index = highest([found[variant.id] for variant in variants], self._rng)
        else:
            index = int(self._rng.integers(len(variants)))
        self._last = variants[index].id, vector
        return index

    def _meet(self, variants: tuple[Variant, ...]) -> None:
        new = [variant.id for variant in variants if variant.id not in self._known]
        if new and self._mab is None:
            from mabwiser.mab import MAB

            self._mab = MAB(arms=new, learning_policy=self._policy, seed=self._seed)
        else:
            for each in new:
                self._mab.add_arm(each)
        self._known.update(new)

    def learn(self, reward: float) -> None:
        """One row."""
        chosen, vector = self._last
        self._mab.partial_fit([chosen], [reward], vector)
        self._fitted = True

    def close(self) -> None:
        """Nothing to free."""


class BayesianBandits:
    """bayesianbandits' LinearUCB as its README has it: a NormalInverseGammaRegressor a variant."""

    def __init__(self, vectors: Vectors, seed: int) -> None:
        """One generator for all of it."""
        from bayesianbandits import UpperConfidenceBound

        self._policy = UpperConfidenceBound(alpha=0.84)
        self._rng = np.random.default_rng(seed)
        self._vectors = vectors
        self._arms: dict[str, Any] = {}
        self._agents: dict[tuple[str, ...], Any] = {}
        self._last: tuple[Any, str, Any] = (None, "", None)

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """Pulls among the eligible variants."""
        ids = tuple(variant.id for variant in variants)
        agent = self._agents.get(ids) or self._agent(ids)
        vector = self._vectors(context)[None, :]
        (token,) = agent.pull(vector)
        self._last = agent, token, vector
        return ids.index(token)

    def _agent(self, ids: tuple[str, ...]) -> Any:
        from bayesianbandits import Arm, ContextualAgent, NormalInverseGammaRegressor

        for each in ids:
            if each not in self._arms:
                self._arms[each] = Arm(each, learner=NormalInverseGammaRegressor())
        # Agents of several sets share the arms, and so what was learned.
        agent = ContextualAgent([self._arms[each] for each in ids], self._policy, random_seed=self._rng)
        self._agents[ids] = agent
        return agent

    def learn(self, reward: float) -> None:
        """Updates the pulled arm."""
        agent, token, vector = self._last
        agent.select_for_update(token).update(vector, np.array([reward]))

    def close(self) -> None:
        """Nothing to free."""


class Gittins:
    """gittins as its README has it: decide, then learn, a salt a round; one second goes by between rounds."""

    def __init__(self, seed: int, bits: int = GITTINS_BITS, vectors: Vectors | None = None) -> None:
        """A new state. Numbers are given as they are, or standardised by `vectors`."""
        import gittins

        self._vectors = vectors

        self._gittins = gittins
        self._state = gittins.create(bits=bits, horizon=3600.0)
        self._seed = seed
        self._round = 0
        self._last = ""
        self._from: tuple[Variant, ...] = ()
        self._candidates: list[tuple[str, dict[str, FeatureValue]]] = []

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """Decides."""
        if variants is not self._from:
            self._from = variants
            self._candidates = [(variant.id, dict(variant.features)) for variant in variants]
        self._round += 1
        if self._vectors is not None:
            context = self._vectors.scaled(context)
        record = self._gittins.decide(
            self._state, context, self._candidates, float(self._round), f"{self._seed}-{self._round}"
        )
        self._last = record.decision_id
        return int(record.chosen)

    def learn(self, reward: float) -> None:
        """Resolves the decision."""
        self._gittins.learn(self._state, self._last, reward, self._round + 0.5)

    def close(self) -> None:
        """Nothing to free."""


class VowpalWabbit:
    """Vowpal Wabbit alone, as its contextual bandit tutorial has it: text examples, costs of -reward."""

    def __init__(self, arguments: str, seed: int) -> None:
        """`arguments` say how to explore; all else is VW's default."""
        import vowpalwabbit

        self._vw = vowpalwabbit.Workspace(f"--cb_explore_adf {arguments} -q UA --quiet --random_seed {seed}")
        self._rng = np.random.default_rng(seed)
        self._from: tuple[Variant, ...] = ()
        self._lines: list[str] = []
        self._last: tuple[str, int, float] = ("", 0, 1.0)

    def choose(self, context: Context, variants: tuple[Variant, ...]) -> int:
        """Draws from what VW predicts."""
        if variants is not self._from:
            self._from = variants
            self._lines = [f"|Action id={each.id} {_features(each.features)}" for each in variants]
        shared = f"shared |User {_features(context)}"
        pmf = np.array(self._vw.predict([shared, *self._lines]))
        index = int(self._rng.choice(len(pmf), p=pmf / pmf.sum()))
        self._last = shared, index, float(pmf[index])
        return index

    def learn(self, reward: float) -> None:
        """The last example again, with its label."""
        shared, index, probability = self._last
        lines = list(self._lines)
        lines[index] = f"0:{-reward}:{probability} {lines[index]}"
        self._vw.learn([shared, *lines])

    def close(self) -> None:
        """Frees the model."""
        self._vw.finish()


def _features(features: Any) -> str:
    return " ".join(
        f"{name}={value.translate(_PLAIN)}" if isinstance(value, str) else f"{name}:{float(value)}"
        for name, value in features.items()
    )


_PLAIN = str.maketrans({" ": "_", ":": "_", "|": "_", "\n": "_"})
"""What VW's text format has a meaning for."""
