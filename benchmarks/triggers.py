"""What the quality trigger finds, how soon, and how often it is wrong: simulated production with known changes.

python -m benchmarks.triggers
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.figures import Figure, figure, table
from tasks.triggers.check import _streams, quality_drop
from tasks.triggers.observations import Observations, Past
from tasks.triggers.policy import TriggerPolicy

POLICY = TriggerPolicy()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNS, QUIET, AFTER = 100, 10_000, 2_000
BEFORE = 2_000
"""Observations before the change: the reference and as many again."""
STEP = 25
"""Observations between two checks."""
DOMAINS = 4
Values = NDArray[np.float64]


class Stream(NamedTuple):
    """Scores in order, and who they are from."""

    quality: Values
    unit: NDArray[np.int64]


Source = Callable[[Generator, Values], Stream]


def clipped(spread: float) -> Source:
    """Return scores from a normal distribution that is cut at 0 and 100, with the means that are asked for."""

    def draw(rng: Generator, means: Values) -> Stream:
        centre = {mean: _centre(mean, spread) for mean in np.unique(means)}
        latent = np.array([centre[mean] for mean in means]) + spread * rng.standard_normal(len(means))
        return Stream(latent.clip(0, 100), np.arange(len(means)))

    return draw


def _centre(mean: float, spread: float) -> float:
    def gap(centre: float) -> float:
        low, high = -centre / spread, (100 - centre) / spread
        inside = centre * (norm.cdf(high) - norm.cdf(low)) - spread * (norm.pdf(high) - norm.pdf(low))
        return float(inside + 100 * norm.sf(high) - mean)

    return float(brentq(gap, -100, 300))


def beta(spread: float) -> Source:
    """Return scores from a beta distribution: skewed, most of them near the top."""

    def draw(rng: Generator, means: Values) -> Stream:
        share = means / 100
        size = share * (1 - share) / (spread / 100) ** 2 - 1
        return Stream(100 * rng.beta(share * size, (1 - share) * size), np.arange(len(means)))

    return draw


def thumbs(rng: Generator, means: Values) -> Stream:
    """Return 0 or 100: the noisiest scores there are."""
    return Stream(np.where(rng.random(len(means)) < means / 100, 100.0, 0.0), np.arange(len(means)))


def sticky(visit: int, *, known: bool = True) -> Source:
    """Return scores of 20 users at a time, of `visit` observations each on average, alike within a visit."""

    def draw(rng: Generator, means: Values) -> Stream:
        n, active = len(means), 20
        slot = rng.integers(active, size=n)
        leaves = rng.random(n) < 1 / visit
        visits = np.zeros(n, np.int64)
        for each in range(active):
            mine = slot == each
            visits[mine] = np.cumsum(leaves[mine]) * active + each
        taste = rng.normal(0, 8, visits.max() + 1)
        quality = means + taste[visits] + 14 * rng.standard_normal(n)
        return Stream(quality, visits if known else np.full(n, -1))

    return draw


def bursts(rng: Generator, means: Values) -> Stream:
    """Return scores whose noise carries over to the next ones (autoregression of 0.3), of unknown users."""
    noise = rng.normal(0, 15, len(means))
    for position in range(1, len(means)):
        noise[position] += 0.3 * noise[position - 1]
    return Stream(means + noise, np.full(len(means), -1))


MUST: dict[str, tuple[float, Source]] = {
    "clipped normal, sd 15": (80, clipped(15)),
    "clipped normal, sd 20": (80, clipped(20)),
    "beta, sd 18": (80, beta(18)),
    "beta, mean 90, sd 15": (90, beta(15)),
}
"""Scores as they are in production: a mean near 80 and a standard deviation of 15 to 20 points."""
HARD: dict[str, tuple[float, Source]] = {
    "clipped normal, mean 60, sd 20": (60, clipped(20)),
    "thumbs up or down at 80 %": (80, thumbs),
    "users who stay for 3": (80, sticky(3)),
    "users who stay for 8": (80, sticky(8)),
    "bursts, units unknown": (80, bursts),
}
"""Noisier, or not independent: what is true here is measured, and only the false alarms must hold."""


def first_alarm(stream: Stream, domain: NDArray[np.int64], policy: TriggerPolicy = POLICY) -> int | None:
    """Return after how many observations a check fires, None if none does; the real trigger, every `STEP` observations.

    No check can fire before a test has found a fall, so the checks begin there.
    """
    found = _observed(stream, domain, len(domain))
    falls = []
    for each in _streams(found, policy):
        if each.drop is not None and each.drop.falls:
            mine = np.arange(len(domain)) if not each.name else np.flatnonzero(domain == int(each.name))
            falls.append(int(mine[each.drop.falls[0].seen - 1]) + 1)
    if not falls:
        return None
    for seen in range(-(-min(falls) // STEP) * STEP, len(domain) + 1, STEP):
        if quality_drop(_observed(stream, domain, seen), Past(), NOW, policy).fired:
            return seen
    return None


def _observed(stream: Stream, domain: NDArray[np.int64], seen: int) -> Observations:
    return Observations(
        quality=stream.quality[:seen], failed=np.zeros(seen, np.bool_), negative=np.full(seen, np.nan),
        domain=domain[:seen], unit=stream.unit[:seen], domains=tuple(str(code) for code in range(DOMAINS)),
    )  # fmt: skip


def false_alarms(source: Source, mean: float, runs: int = RUNS) -> int:
    """Return in how many runs without a change something fires."""
    count = 0
    for seed in range(runs):
        rng = np.random.default_rng([1, seed])
        domain = rng.integers(DOMAINS, size=QUIET)
        count += first_alarm(source(rng, np.full(QUIET, mean)), domain) is not None
    return count


def delays(source: Source, mean: float, drop: float, runs: int = RUNS, *, only: int | None = None) -> Values:
    """Return how many observations after a change it fires: infinite if not at all, negative if before.

    Args:
        source: Of the scores.
        mean: Before the change.
        drop: Share of the mean that is lost.
        runs: How many.
        only: Domain that alone is changed; all where it is left out.
    """
    found = []
    for seed in range(runs):
        rng = np.random.default_rng([2, seed])
        domain = rng.integers(DOMAINS, size=BEFORE + AFTER)
        changed = (np.arange(BEFORE + AFTER) >= BEFORE) & ((domain == only) if only is not None else True)
        alarm = first_alarm(source(rng, np.where(changed, mean * (1 - drop), mean)), domain)
        found.append(np.inf if alarm is None else alarm - BEFORE)
    return np.array(found)


def results(folder: Path) -> list[Figure]:
    """Measure everything of this file; `folder` is not used."""
    del folder
    return [*detection(), *hard(), *speed()]


def detection() -> list[Figure]:
    """What must hold."""
    figures = []
    for name, (mean, source) in MUST.items():
        wrong = false_alarms(source, mean)
        five, ten = delays(source, mean, 0.05), delays(source, mean, 0.10)
        figures += [
            figure(f"false alarms in {RUNS} runs of {QUIET:,} observations without change: {name}", wrong, most=1),
            figure(f"5 % drop found within {AFTER:,}: {name}", _share(five), "% of runs", least=95),
            figure(f"5 % drop, median delay: {name}", float(np.median(five)), "observations", most=900),
            figure(f"10 % drop, median delay: {name}", float(np.median(ten)), "observations", most=250),
        ]
    mean, source = MUST["beta, sd 18"]
    one = delays(source, mean, 0.20, only=0)
    figures += [
        figure(f"20 % drop in one of {DOMAINS} domains found within {AFTER:,}", _share(one), "% of runs"),
        figure("20 % drop in one domain, median delay (of all observations)", float(np.median(one)), "observations"),
    ]
    return figures


def hard() -> list[Figure]:
    """What is harder: only the false alarms must hold."""
    figures = []
    for name, (mean, source) in HARD.items():
        wrong = false_alarms(source, mean)
        five, ten = delays(source, mean, 0.05), delays(source, mean, 0.10)
        figures += [
            figure(f"false alarms: {name}", wrong, f"in {RUNS} runs", most=1),
            figure(f"5 % drop found within {AFTER:,}: {name}", _share(five), "% of runs"),
            figure(f"10 % drop, median delay: {name}", float(np.median(ten)), "observations"),
        ]
    return figures


def speed() -> list[Figure]:
    """How long one look takes."""
    rng = np.random.default_rng(0)
    stream = beta(18)(rng, np.full(100_000, 80.0))
    observed = _observed(stream, rng.integers(DOMAINS, size=100_000), 100_000)
    quality_drop(observed, Past(), NOW, POLICY)
    began = time.perf_counter()
    quality_drop(observed, Past(), NOW, POLICY)
    return [figure("a look at 100,000 observations, all together and by domain", time.perf_counter() - began, "s")]


def _share(found: Values) -> float:
    return float(100 * np.mean((found > 0) & (found <= AFTER)))


if __name__ == "__main__":
    print(table(results(Path())))
