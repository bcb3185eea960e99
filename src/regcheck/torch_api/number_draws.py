"""Draws of numbers outside of torch: from the streams of Python and NumPy, and from generators."""

from __future__ import annotations

from collections.abc import Mapping

from .arguments import Argument, signature

_SCALED = {
    "random": {"gauss": "mu=0.0 sigma=1.0", "normalvariate": "mu=0.0 sigma=1.0", "lognormvariate": "mu sigma"},
    "numpy.random": {
        "normal": "loc=0.0 scale=1.0",
        "laplace": "loc=0.0 scale=1.0",
        "logistic": "loc=0.0 scale=1.0",
        "gumbel": "loc=0.0 scale=1.0",
        "exponential": "scale=1.0",
        "rayleigh": "scale=1.0",
        "lognormal": "mean=0.0 sigma=1.0",
    },
}
_BOUNDED = {"random": {"uniform": "a b"}, "numpy.random": {"uniform": "low=0.0 high=1.0"}}
_UNSCALED = {
    "random": (
        "random betavariate expovariate gammavariate triangular vonmisesvariate weibullvariate randint randrange choice"
        " choices sample getrandbits"
    ),
    "os": "urandom",
    "secrets": "choice randbelow randbits token_bytes",
    "numpy.random": (
        "rand randn random random_sample ranf sample standard_normal beta gamma dirichlet binomial poisson"
        " multivariate_normal standard_cauchy standard_exponential standard_gamma standard_t triangular vonmises"
        " randint random_integers integers choice permutation bytes"
    ),
}


def _last(arguments: str, count: int) -> tuple[Argument, ...]:
    return tuple(signature(arguments).values())[-count:]


NUMBER_DRAWS: Mapping[str, tuple[Argument, ...]] = {
    **{f"{package}.{name}": _last(each, 1) for package, by in _SCALED.items() for name, each in by.items()},
    **{f"{package}.{name}": _last(each, 2) for package, by in _BOUNDED.items() for name, each in by.items()},
    **{f"{package}.{name}": () for package, names in _UNSCALED.items() for name in names.split()},
}
"""The functions that draw numbers from the global streams of Python and NumPy or from the operating system, and nothing
random if their arguments here are equal: the two bounds, or zero and the scale.
"""

GENERATORS: Mapping[str, str] = {
    "random.Random": "random",
    "random.SystemRandom": "random",
    "numpy.random.default_rng": "numpy.random",
    "numpy.random.RandomState": "numpy.random",
    "numpy.random.Generator": "numpy.random",
}
"""The functions and classes that make a generator, and the package whose functions are its methods."""

STREAMS = frozenset(("random", "numpy.random"))
"""The packages of Python and NumPy that have a global stream."""

SEEDING = frozenset(("torch.manual_seed", "random.seed", "numpy.random.seed"))
"""The functions that seed a global stream."""
