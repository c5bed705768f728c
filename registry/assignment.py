"""Which version answers which unit: a pure function of the running experiments, without I/O and without memory.

A unit (a user or a session) is hashed with GrowthBook's published algorithm, version 2, so that any of its SDKs
computes the same arm without asking us; `sdk_definition` is what to give them. FNV-1a runs over UTF-16 code units, as
in JavaScript. Arms have fixed ranges that grow with the share, so a ramp adds units to an experiment and moves none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.experiments import Experiment

OFFSET, PRIME, MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
CHUNK = 65_536
"""Units that are hashed at a time: their codes stay in the processor's cache."""


class Assignment(NamedTuple):
    """What answers a unit, and why.

    In a shadow experiment (`shadow`) `version` answers beside the champion and its answer is not served.
    """

    experiment: str | None
    arm: str | None
    version: str | None
    shadow: bool
    why: str


# --- one unit ------------------------------------------------------------------------------------------------------


def fnv1a(text: str, state: int = OFFSET) -> int:
    """Return the 32-bit FNV-1a hash of a text's UTF-16 code units, going on from `state`."""
    if text.isascii():
        codes: Sequence[int] = text.encode()
    else:
        codes = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
    for code in codes:
        state = ((state ^ code) * PRIME) & MASK
    return state


@lru_cache(maxsize=1024)
def _seed_state(seed: str) -> int:
    return fnv1a(seed)


def hash_v2(seed: str, value: str) -> float:
    """Return GrowthBook's hash, version 2: one of 0, 0.0001, …, 0.9999."""
    return fnv1a(str(fnv1a(value, _seed_state(seed)))) % 10_000 / 10_000


def hash_v1(seed: str, value: str) -> float:
    """Return GrowthBook's hash, version 1, which its namespaces use: one of 0, 0.001, …, 0.999."""
    return fnv1a(value + seed) % 1000 / 1000


def bucket_ranges(experiment: Experiment) -> list[tuple[float, float]]:
    """Return the range of hashes of each arm, [from, to), computed as GrowthBook does."""
    arms = len(experiment.arms)
    weights = experiment.weights or [1 / arms] * arms
    ranges, cumulative = [], 0.0
    for weight in weights:
        ranges.append((cumulative, cumulative + experiment.coverage * weight))
        cumulative += weight
    return ranges


def holdout_seed(model: str) -> str:
    """Return the seed of the holdout: the same for all experiments of a model, so that its units stay out of all."""
    return f"{model}-holdout"


def in_experiment(experiment: Experiment, unit: str) -> int:
    """Return the number of the unit's arm; -1 where the unit is not in the experiment."""
    if not unit:
        return -1
    if experiment.holdout and hash_v2(holdout_seed(experiment.model), unit) < experiment.holdout:
        return -1
    if experiment.namespace is not None:
        name, start, end = experiment.namespace
        if not start <= hash_v1(f"__{name}", unit) < end:
            return -1
    place = hash_v2(experiment.key, unit)
    return next((arm for arm, (start, end) in enumerate(bucket_ranges(experiment)) if start <= place < end), -1)


def assign(experiments: Sequence[Experiment], model: str, champion: str | None, unit: str) -> Assignment:
    """Return which version answers a unit.

    Args:
        experiments: The running ones; others are passed over.
        model: Name of the model that is asked.
        champion: The version that serves now. An experiment against another champion is over, whether or not
            somebody has noticed yet, and is passed over.
        unit: The user or session; without one (empty) the champion answers.
    """
    mine = [known for known in experiments if known.model == model and known.state == "running"]
    for experiment in mine:
        if experiment.control.version != champion:
            continue
        number = in_experiment(experiment, unit)
        if number >= 0:
            arm = experiment.arms[number]
            shadow = experiment.mode == "shadow" and number > 0
            return Assignment(experiment.key, arm.name, arm.version, shadow, f"{arm.name} of {experiment.key}")
    why = "no experiment" if not mine else "no unit" if not unit else "not in the experiment"
    return Assignment(None, None, champion, False, why)


def sdk_definition(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as GrowthBook's SDKs take it: they then compute the arm's version without asking us."""
    filters = []
    if experiment.holdout:
        seed = holdout_seed(experiment.model)
        filters.append({"seed": seed, "attribute": "id", "hashVersion": 2, "ranges": [[experiment.holdout, 1.0]]})
    if experiment.namespace is not None:
        name, start, end = experiment.namespace
        filters.append({"seed": f"__{name}", "attribute": "id", "hashVersion": 1, "ranges": [[start, end]]})
    return {
        "key": experiment.key,
        "variations": [arm.version for arm in experiment.arms],
        "weights": experiment.weights or [1 / len(experiment.arms)] * len(experiment.arms),
        "coverage": experiment.coverage,
        "hashVersion": 2,
        "hashAttribute": "id",
        "filters": filters,
        "active": experiment.state == "running",
    }


# --- many units ----------------------------------------------------------------------------------------------------


def assign_many(experiment: Experiment, units: Sequence[str]) -> NDArray[np.int8]:
    """Return the number of each unit's arm, -1 where it is not in the experiment: shape (n,), as `in_experiment`."""
    arms = np.full(len(units), -1, dtype=np.int8)
    edges = bucket_ranges(experiment)
    for start in range(0, len(units), CHUNK):
        chunk = units[start : start + CHUNK]
        codes = _codes(chunk)
        place = _hash_v2(experiment.key, codes)
        found = arms[start : start + CHUNK]
        for number, (low, high) in reversed(list(enumerate(edges))):
            found[(place >= low) & (place < high)] = number
        found[codes.lengths == 0] = -1
        if experiment.holdout:
            found[_hash_v2(holdout_seed(experiment.model), codes) < experiment.holdout] = -1
        if experiment.namespace is not None:
            name, low, high = experiment.namespace
            place = _then(f"__{name}", _fnv1a(codes, OFFSET)) % 1000 / 1000
            found[(place < low) | (place >= high)] = -1
    return arms


class _Codes(NamedTuple):
    """The UTF-16 code units of n texts, one text after the other."""

    values: NDArray[np.uint16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def _codes(texts: Sequence[str]) -> _Codes:
    values = np.frombuffer("".join(texts).encode("utf-16-le", "surrogatepass"), dtype="<u2")
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    if lengths.sum() != len(values):  # some are outside the basic plane: two code units a character
        pairs = (len(text.encode("utf-16-le", "surrogatepass")) // 2 for text in texts)
        lengths = np.fromiter(pairs, dtype=np.int64, count=len(texts))
    return _Codes(values, np.cumsum(lengths) - lengths, lengths)


def _fnv1a(codes: _Codes, state: int) -> NDArray[np.uint32]:
    """Hash n texts, one position of all of them at a time; longest first, so that those still going are a prefix."""
    order = np.argsort(-codes.lengths, kind="stable")
    lengths, starts = codes.lengths[order], codes.starts[order]
    longest = int(lengths[0]) if len(lengths) else 0
    going = np.searchsorted(-lengths, -np.arange(longest), side="left")
    hashes = np.full(len(lengths), state, dtype=np.uint32)
    for position in range(longest):
        count = going[position]
        hashes[:count] = (hashes[:count] ^ codes.values[starts[:count] + position]) * np.uint32(PRIME)
    result = np.empty_like(hashes)
    result[order] = hashes
    return result


def _then(text: str, hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    for code in memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H"):
        hashes = (hashes ^ np.uint32(code)) * np.uint32(PRIME)
    return hashes


def _hash_v2(seed: str, codes: _Codes) -> NDArray[np.float64]:
    first = _fnv1a(codes, _seed_state(seed))
    second = np.full(len(first), OFFSET, dtype=np.uint32)
    for power in range(9, -1, -1):  # the first hash in decimal, without leading zeros
        scale = np.uint32(10**power)
        digit = first // scale % np.uint32(10) + np.uint32(ord("0"))
        written = (first >= scale) | (power == 0)
        second = np.where(written, (second ^ digit) * np.uint32(PRIME), second)
    return second % 10_000 / 10_000
