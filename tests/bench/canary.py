"""`python -m tests.bench.canary`: how often the canary's verdict is wrong, and how soon it is right.

Drives the very functions of the operator (`gyre_operators.inference.verdict`) minute by minute over a
rollout 10 -> 50 -> 100, beside the threshold rules of Argo Rollouts and Flagger on the same requests
(success >= 99 % over the last minute; failureLimit 3, threshold 5). Exits 1 when the verdict refuses a
good candidate more often than alpha plus three standard errors, or misses its goals of power.
"""

import argparse
import math
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from gyre_crds.v1alpha1.inference import Stratum
from gyre_operators.inference.verdict import judge

ALPHA, MARGIN = 0.05, 0.01
STEPS = (10, 50)
LOOKS = 60
"""Minutes until a rollout without a verdict is inconclusive."""


@dataclass
class Ends:
    """How rollouts of one row ended."""

    minutes: dict[str, list[int]] = field(default_factory=lambda: {"Pass": [], "Fail": [], "Inconclusive": []})

    def share(self, verdict: str) -> float:
        """Share of rollouts with this end."""
        return len(self.minutes[verdict]) / sum(map(len, self.minutes.values()))

    def median(self, verdict: str) -> str:
        """Median minute of this end."""
        return f"{statistics.median(self.minutes[verdict]):.0f}" if self.minutes[verdict] else "-"


@dataclass(frozen=True)
class Case:
    """One row: requests a minute over both revisions, and error shares."""

    rate: int
    stable: float
    candidate: float

    @property
    def name(self) -> str:
        """As the table prints it."""
        return f"{self.rate:>6}  {self.stable:>6.1%}  {self.candidate:>9.1%}"


def binomial(rng: random.Random, count: int, share: float) -> int:
    """How many of `count` happen: exact where it is cheap, normal where both sides are many."""
    mean, variance = count * share, count * share * (1 - share)
    if variance > 100:
        return min(count, max(0, round(rng.gauss(mean, math.sqrt(variance)))))
    return sum(rng.random() < share for _ in range(count))


def rollout(rng: random.Random, case: Case) -> tuple[str, int]:
    """One rollout: its end and the minute of it."""
    strata: list[Stratum] = []
    minute = 0
    for weight in STEPS:
        strata.append(Stratum(weight=weight))
        said = "Inconclusive"
        while said == "Inconclusive":
            if minute == LOOKS:
                return "Inconclusive", minute
            minute += 1
            strata[-1] = more(rng, case, strata[-1])
            said = judge(strata, alpha=ALPHA, margin=MARGIN).verdict
        if said == "Fail":
            return "Fail", minute
    return "Pass", minute


def more(rng: random.Random, case: Case, now: Stratum) -> Stratum:
    """One more minute of requests."""
    candidate = binomial(rng, case.rate, now.weight / 100)
    stable = case.rate - candidate
    return Stratum(
        weight=now.weight,
        candidate_requests=now.candidate_requests + candidate,
        candidate_errors=now.candidate_errors + binomial(rng, candidate, case.candidate),
        stable_requests=now.stable_requests + stable,
        stable_errors=now.stable_errors + binomial(rng, stable, case.stable),
    )


def by_threshold(rng: random.Random, case: Case, *, limit: int) -> bool:
    """Whether a rule on the last minute's success share, with so many failures allowed, rolls back in 30 minutes."""
    failures = 0
    for _ in range(30):
        requests = binomial(rng, case.rate, STEPS[0] / 100)
        failures += requests > 0 and binomial(rng, requests, case.candidate) / requests > 0.01
        if failures > limit:
            return True
    return False


GOOD = [
    Case(rate, share, share) for share in (0.0, 0.001, 0.005, 0.02) for rate in (300, 1000, 10000)
]  # fmt: skip
BAD = [
    Case(rate, stable, candidate)
    for stable, candidate in ((0.0, 0.05), (0.005, 0.02), (0.005, 0.05), (0.02, 0.10))
    for rate in (300, 1000, 10000)
]
"""Candidates four times as bad, or worse, beyond the margin."""


def table(cases: Sequence[Case], runs: int, seed: int) -> list[tuple[Case, Ends]]:
    """Run and print every row."""
    print(f"{'req/min':>6}  {'stable':>6}  {'candidate':>9} | pass  [min] | fail  [min] | open  | argo 3 | flagger 5")
    rows = []
    for case in cases:
        rng, ends = random.Random(f"{seed} {case}"), Ends()  # noqa: S311  a simulation
        for _ in range(runs):
            verdict, minute = rollout(rng, case)
            ends.minutes[verdict].append(minute)
        argo = sum(by_threshold(rng, case, limit=3) for _ in range(runs)) / runs
        flagger = sum(by_threshold(rng, case, limit=5) for _ in range(runs)) / runs
        passed = f"{ends.share('Pass'):.3f} [{ends.median('Pass'):>3}]"
        failed = f"{ends.share('Fail'):.3f} [{ends.median('Fail'):>3}]"
        print(f"{case.name} | {passed} | {failed} | {ends.share('Inconclusive'):.3f} | {argo:.3f}  | {flagger:.3f}")
        rows.append((case, ends))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.canary", description="Error rates of the verdict.")
    parser.add_argument("--runs", type=int, default=1000, help="rollouts a row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args(arguments)
    print("Candidates that are no worse: fail must stay below alpha = 5 % over the whole rollout")
    good = table(GOOD, given.runs, given.seed)
    print("\nCandidates that are worse beyond the margin of 1 point: pass must stay below 5 %")
    bad = table(BAD, given.runs, given.seed)
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / given.runs)
    missed = [f"refuses {case.name} in {e.share('Fail'):.3f}" for case, e in good if e.share("Fail") > bound]
    missed += [f"passes {case.name} in {e.share('Pass'):.3f}" for case, e in bad if e.share("Pass") > bound]
    missed += [
        f"finds {case.name} in only {e.share('Fail'):.3f}"
        for case, e in bad
        if case.rate >= 1000 and e.share("Fail") < 0.9
    ]
    print("\n" + ("\n".join(missed) if missed else f"within bounds: every rate <= {bound:.3f}, power >= 0.9"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
