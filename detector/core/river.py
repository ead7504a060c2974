"""River detectors that a baseline rule may name, and what they take. Pure; imports nothing of River until one is built.

Only what stands in `KNOWN` exists: a name in a rule file is looked up here and nowhere else, its parameters are plain
values within bounds, and nothing of a rule file is ever imported or evaluated. What draws at random has a seed, so that
two replays say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

FEATURES = (
    "reads_5m", "reads_1h", "bytes_5m", "bytes_1h", "new_5m", "new_1h", "new_24h", "new_72h",
    "prefixes_1h", "prefixes_24h", "young_1h", "young_24h", "young_72h", "rare_1h", "rare_24h", "rare_72h",
    "foreign_1h", "foreign_24h", "foreign_72h",
    "nets_5m", "new_nets_24h", "group_nets_24h", "strange_1h", "strange_24h",
    "errors_5m", "errors_1h", "new_copies_1h", "strange_copies_1h", "active_24h",
)  # fmt: skip
"""What a detector is given: log(1 + value) of the model's channels, by name."""

Value = bool | int | float


class Range(NamedTuple):
    """What a parameter may be: a number from `low` to `high`; whole: no fraction."""

    low: float
    high: float
    whole: bool = True

    def told(self) -> str:
        """In words."""
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"

    def holds(self, value: object) -> bool:
        """Whether a value is one."""
        kind = int if self.whole else (int, float)
        return isinstance(value, kind) and not isinstance(value, bool) and self.low <= value <= self.high


SEED, WINDOW, PARTS = Range(0, 2**31 - 1), Range(2, 100_000), Range(1, 100)
SHARE, FACTOR = Range(0, 1, whole=False), Range(0.001, 0.999, whole=False)
Takes = dict[str, Range | None]
"""Parameter → its range; None: true or false."""

DETECTORS: dict[str, Takes] = {
    "HalfSpaceTrees": {"n_trees": Range(1, 500), "height": Range(1, 14), "window_size": WINDOW, "seed": SEED},
    "LODA": {"n_bins": Range(2, 1000), "n_random_cuts": Range(1, 1000), "seed": SEED},
    "OneClassSVM": {"nu": SHARE, "intercept_lr": SHARE, "clip_gradient": Range(0, 1e12, whole=False)},
}
SCALERS: dict[str, Takes] = {
    "AdaptiveStandardScaler": {"fading_factor": FACTOR},
    "Binarizer": {"threshold": Range(0, 100, whole=False)},
    "GaussianRandomProjector": {"n_components": PARTS, "seed": SEED},
    "MaxAbsScaler": {"window_size": WINDOW},
    "MinMaxScaler": {"window_size": WINDOW},
    "Normalizer": {"order": Range(1, 10)},
    "RobustScaler": {"with_centering": None, "with_scaling": None, "q_inf": SHARE, "q_sup": SHARE},
    "SparseRandomProjector": {"n_components": PARTS, "density": FACTOR, "seed": SEED},
    "StandardScaler": {"with_std": None, "window_size": WINDOW},
}
CHOOSERS = ("Discard", "Select")
KNOWN = (*DETECTORS, *SCALERS, *CHOOSERS)


class Step(NamedTuple):
    """One step of a pipeline: a class of River by name, its parameters, and for `Select` and `Discard` the features."""

    name: str
    takes: tuple[tuple[str, Value], ...] = ()
    features: tuple[str, ...] = ()


def step(written: object) -> Step:
    """`MinMaxScaler` or `{HalfSpaceTrees: {n_trees: 25}}`. Raises ValueError."""
    if isinstance(written, Step):
        return written
    name, given = next(iter(written.items())) if isinstance(written, Mapping) and len(written) == 1 else (written, {})
    if not isinstance(name, str) or name not in KNOWN:
        msg = f"expected one of {', '.join(KNOWN)}, such as {{HalfSpaceTrees: {{n_trees: 25}}}}, got {str(name)[:80]!r}"
        raise ValueError(msg)
    return Step(name, features=_features(name, given)) if name in CHOOSERS else Step(name, _takes(name, given))


def _features(name: str, given: object) -> tuple[str, ...]:
    chosen = (given,) if isinstance(given, str) else given
    if isinstance(chosen, list | tuple) and chosen and all(one in FEATURES for one in chosen):
        return tuple(chosen)
    msg = f"{name} expected a list of {', '.join(FEATURES)}, got {str(given)[:80]!r}"
    raise ValueError(msg)


def _takes(name: str, given: object) -> tuple[tuple[str, Value], ...]:
    known = (DETECTORS | SCALERS)[name]
    if not isinstance(given, Mapping):
        msg = f"{name} expected a mapping of {', '.join(known)}, got {str(given)[:80]!r}"
        raise ValueError(msg)
    for one, value in given.items():
        if one not in known:
            msg = f"{name} does not take {str(one)[:80]!r}; it takes {', '.join(known)}"
            raise ValueError(msg)
        kind = known[one]
        if not (isinstance(value, bool) if kind is None else kind.holds(value)):
            told = "true or false" if kind is None else kind.told()
            msg = f"{name}.{one} expected {told}, got {str(value)[:80]!r}"
            raise ValueError(msg)
    return tuple(sorted(given.items()))


def _listed(written: object) -> object:
    return written if isinstance(written, list | tuple) and not isinstance(written, Step) else (written,)


def _pipeline(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """A pipeline ends in its only detector."""
    if [one.name in DETECTORS for one in steps] != [False] * (len(steps) - 1) + [True]:
        msg = f"expected steps that end in one of {', '.join(DETECTORS)}, and no other of these before it"
        raise ValueError(msg)
    return steps


_SCHEMA_STEP: dict[str, Any] = {
    "anyOf": [
        {"enum": [*DETECTORS, *SCALERS]},
        {
            "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
            "properties": {
                name: {
                    "type": "object", "additionalProperties": False,
                    "properties": {
                        one: {"type": "boolean"} if kind is None else
                        {"type": "integer" if kind.whole else "number", "minimum": kind.low, "maximum": kind.high}
                        for one, kind in takes.items()
                    },
                }
                for name, takes in (DETECTORS | SCALERS).items()
            } | {name: {"anyOf": [{"enum": list(FEATURES)}, {"type": "array", "items": {"enum": list(FEATURES)}}]}
                 for name in CHOOSERS},
        },
    ]
}  # fmt: skip

Detector = Annotated[
    tuple[Annotated[Any, BeforeValidator(step)], ...],
    BeforeValidator(_listed),
    AfterValidator(_pipeline),
    WithJsonSchema({"anyOf": [_SCHEMA_STEP, {"type": "array", "minItems": 1, "items": _SCHEMA_STEP}]}),
]


def build(steps: tuple[Step, ...]) -> Any:
    """The River detector or pipeline that these steps name."""
    from river import anomaly, compose, preprocessing

    made = []
    for one in steps:
        if one.name in CHOOSERS:
            made.append(getattr(compose, one.name)(*one.features))
            continue
        home, known = (anomaly, DETECTORS) if one.name in DETECTORS else (preprocessing, SCALERS)
        seed = {"seed": 0} if "seed" in known[one.name] else {}
        made.append(getattr(home, one.name)(**seed | dict(one.takes)))
    return made[0] if len(made) == 1 else compose.Pipeline(*made)
