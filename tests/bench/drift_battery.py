"""False alarms and power of a look beside peers, which work on their windows meanwhile. Markdown tables."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_crds.v1alpha1.drift import Window
from gyre_monitoring.profile import build
from tests.bench.drift_peers import Pair, judged
from tests.bench.drift_tables import CHUNKS, REFERENCE, chunked, split, tables
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, labels, look, monitor, normals, window

RATE = 0.01
ROWS = (50, 200, 500, 1000, 5000)
EVIDENTLY, NANNYML = "Evidently default", "NannyML"
_SHARED = 10
"""Windows of NannyML that share a reference in the table of power: its thresholds depend on it."""


class Repetitions(NamedTuple):
    """How many windows a cell of a table takes."""

    ours: int
    evidently: int
    nannyml: int

    def words(self) -> str:
        """For a heading."""
        return (
            f"{self.ours} windows of ours, {self.evidently} of Evidently, {self.nannyml} of NannyML (± standard "
            f"error; NannyML learns from {CHUNKS} windows' worth of reference rows, at least {REFERENCE})"
        )


class Peers:
    """Two processes of peers at a time, beside this one."""

    def __init__(self, repetitions: Repetitions) -> None:
        self._most = repetitions
        self._pool = ThreadPoolExecutor(2)

    def cells(
        self, evidently: Callable[[int], Iterable[Pair]], nannyml: Callable[[int], Iterable[Pair] | None]
    ) -> list[Future[str]]:
        """Start both on windows of theirs; each gives its cell: the share of windows with any drifted column."""
        return [
            self._pool.submit(self._cell, EVIDENTLY, evidently(self._most.evidently), self._most.evidently),
            self._pool.submit(self._cell, NANNYML, nannyml(self._most.nannyml), self._most.nannyml),
        ]

    def _cell(self, peer: str, pairs: Iterable[Pair] | None, count: int) -> str:
        if pairs is None:
            return "too few rows"
        return rate([one > 0 for one in judged(peer, pairs).drifted]) if count else "not run"


def rate(found: Iterable[bool]) -> str:
    """A share and its standard error."""
    hits = list(found)
    share = float(np.mean(hits))
    return f"{share:.1%} ± {math.sqrt(share * (1 - share) / len(hits)):.1%}"


def bound(repetitions: int) -> float:
    """The declared rate and three standard errors."""
    return RATE + 3 * math.sqrt(RATE * (1 - RATE) / repetitions)


def null_battery(most: Repetitions) -> bool:
    """Windows of the reference's own population, not scored and not labelled: share with any alarm."""
    print(f"\nFalse alarms on random splits, declared {RATE:.0%}, bound {bound(most.ours):.1%}; {most.words()}\n")
    print("| table | rows | ours | Evidently default | NannyML |\n|---|---|---|---|---|")
    held, peers = True, Peers(most)
    for name, table in tables().items():
        for rows in ROWS:
            if split(table, rows, 0) is None:
                continue
            theirs = peers.cells(partial(_pairs, table, rows), partial(chunked, table, rows))
            ours = [_alarms(*_pair(table, rows, seed)) for seed in range(most.ours)]
            print(f"| {name} | {rows} | {rate(ours)} | {' | '.join(one.result() for one in theirs)} |", flush=True)
            held = held and float(np.mean(ours)) <= bound(most.ours)
    return held


def labelled_battery(repetitions: int) -> bool:
    """The same for the census with a model, its scores and all labels."""
    people = census.young(census.people()[1])
    print(f"\nFalse alarms on the census with scores and labels, bound {bound(repetitions):.1%}\n")
    print("| rows | ours |\n|---|---|")
    shares = []
    for rows in (500, 2000, 5000):
        found = [_labelled_alarms(people, rows, seed) for seed in range(repetitions)]
        shares.append(float(np.mean(found)))
        print(f"| {rows} | {rate(found)} |", flush=True)
    return max(shares) <= bound(repetitions)


def power(most: Repetitions) -> bool:
    """Planted changes: share of windows in which the moved column is named; peers: any column."""
    reference, peers = normals(10, REFERENCE, 1), Peers(most)
    profile = build(lambda: [reference], _normal_contract(10))
    print(f"\nPower: share of windows in which the moved column counts as drifted; peers: any column; {most.words()}\n")
    print("| change | rows | ours | Evidently default | NannyML |\n|---|---|---|---|---|")
    shares = {}
    for shift in (0.1, 0.2, 0.3, 0.4):
        for rows in (500, 1000, 5000):
            moved = _moved(rows, shift)
            theirs = peers.cells(partial(_one_reference, reference, moved), partial(_renewed, rows, moved))
            found = [_finds(moved(seed), profile) for seed in range(most.ours)]
            shares[shift, rows] = float(np.mean(found))
            cells = " | ".join([rate(found), *(one.result() for one in theirs)])
            print(f"| one of 10 columns, {shift} deviations | {rows} | {cells} |", flush=True)
    held = [_age(part, most, peers) for part in (0.1, 0.2)]
    return shares[0.3, 1000] >= 0.95 and held[-1] >= 0.95


def _age(part: float, most: Repetitions, peers: Peers) -> float:
    """Of people of 2016 to 2018, with a reference of 2015: all of its rows for NannyML."""
    names = list(census.FEATURES)
    before, people = (census.young(one) for one in census.people())
    theirs = peers.cells(
        partial(_one_reference, census.reference().select(names), partial(_plain, people, part)),
        partial(_one_reference, pa.table({name: before[name] for name in names}), partial(_plain, people, part)),
    )
    found = [any(d.name == "AGEP" for d in look(_aged(people, part, seed))[0].drifted) for seed in range(most.ours)]
    cells = " | ".join([rate(found), *(one.result() for one in theirs)])
    print(f"| age + 15 in {part:.0%} of the rows | 5000 | {cells} |", flush=True)
    return float(np.mean(found))


def _one_reference(reference: pa.Table, made: Callable[[int], pa.Table], count: int) -> Iterator[Pair]:
    return ((None if seed else reference, made(seed)) for seed in range(count))


def _renewed(rows: int, made: Callable[[int], pa.Table], count: int) -> Iterator[Pair]:
    for seed in range(count):
        fresh = seed % _SHARED == 0
        yield normals(10, max(REFERENCE, CHUNKS * rows), 1_000_000 + seed) if fresh else None, made(seed)


def _moved(rows: int, shift: float) -> Callable[[int], pa.Table]:
    return lambda seed: normals(10, rows, seed + 9, shift)


def _alarms(reference: pa.Table, current: pa.Table) -> bool:
    contract = Contract(key="id", label=LabelContract(column="label"), features=reference.column_names)
    spec = monitor(features=[], window=Window(min_rows=1))
    profile = build(lambda: [reference], contract)
    return look(current, profile=profile, contract=contract, spec=spec)[1].verdict != "Healthy"


def _pairs(table: pa.Table, rows: int, count: int) -> Iterator[Pair]:
    return (_pair(table, rows, seed) for seed in range(count))


def _pair(table: pa.Table, rows: int, seed: int) -> tuple[pa.Table, pa.Table]:
    found = split(table, rows, seed)
    if found is None:
        raise ValueError(f"the table holds too few rows for a window of {rows}")
    return found


def _labelled_alarms(people: census.Frame, rows: int, seed: int) -> bool:
    order = np.random.default_rng(seed).permutation(people["y"].size)
    known, frame = (census.taken(people, part) for part in (order[:REFERENCE], order[REFERENCE : REFERENCE + rows]))
    profile = build(lambda: [window(known).append_column("employed", pa.array(known["y"]))], CONTRACT)
    current = window(frame)
    return look(current, profile=profile, labelled=labels(current, frame, rows))[1].verdict != "Healthy"


def _finds(table: pa.Table, profile: Profile) -> bool:
    evidence, _ = look(table, profile=profile, contract=_normal_contract(10), spec=monitor(features=[]))
    return any(one.name == "x0" for one in evidence.drifted)


def _aged(people: census.Frame, part: float, seed: int) -> pa.Table:
    frame = census.draw(people, 5000, seed)
    frame["AGEP"] = frame["AGEP"] + 15 * (np.random.default_rng(seed).random(5000) < part)
    return window(frame)


def _plain(people: census.Frame, part: float, seed: int) -> pa.Table:
    return _aged(people, part, seed).select(list(census.FEATURES))


def _normal_contract(columns: int) -> Contract:
    return Contract(key="id", label=LabelContract(column="label"), features=[f"x{k}" for k in range(columns)])
