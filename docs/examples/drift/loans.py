"""Loans for a look: what the model was proven on, a later window in which two things changed, and its labels.

Writes reference.parquet, parts/ (the window), labels.parquet, and hours/ (an hour as ever before it, for the stream)
into the directory that is named, by default the one it is called in.
Needs numpy and pyarrow, which gyre-monitoring brings.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 6000
COUNTRIES = ("NL", "BE", "DE")
CUT = 0.5
"""Score from which on the model says that a loan is paid back."""


def loans(seed: int, *, income: float = 0.0, careless: float = 0.0) -> pa.Table:
    """Applicants with a score, a prediction and whether they paid back.

    Args:
        seed: of the generator.
        income: what incomes rose by, in standard deviations, in BE alone.
        careless: share of payers who stopped paying, whatever their features say.
    """
    generator = np.random.default_rng(seed)
    country = generator.choice(COUNTRIES, ROWS, p=[0.6, 0.2, 0.2])
    wage = generator.normal(3000, 700, ROWS) + 700 * income * (country == "BE")
    debt = generator.gamma(2.0, 300.0, ROWS)
    score = 1 / (1 + np.exp(-(wage - 2 * debt - 1500) / 600))
    paid = (generator.random(ROWS) < score) & (generator.random(ROWS) >= careless)
    first = 1_767_225_600 + 3600 * seed  # one hour after the other
    arrived = first + np.sort(generator.integers(0, 3600, ROWS))
    return pa.table({
        "id": [f"{seed}-{row}" for row in range(ROWS)], "country": country, "wage": wage, "debt": debt,
        "gyre_time": pa.array(arrived, pa.timestamp("s", "UTC")), "score": score,
        "prediction": (score >= CUT).astype(int), "paid": paid.astype(int),
    })  # fmt: skip


def main(folder: Path) -> None:
    """Write all of it."""
    for part in ("parts", "hours"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    reference, before, current = loans(0), loans(1), loans(2, income=1.0, careless=0.15)
    pq.write_table(reference.drop_columns("gyre_time"), folder / "reference.parquet")
    pq.write_table(current.select(["id", "paid"]), folder / "labels.parquet")
    served = current.drop_columns("paid")
    pq.write_table(served, folder / "parts" / "1.parquet")
    pq.write_table(before.drop_columns("paid"), folder / "hours" / "0.parquet")
    pq.write_table(served, folder / "hours" / "1.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
