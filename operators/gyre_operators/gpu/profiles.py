"""What MIG slices and whole cards can really hold; a slice's name rounds its memory up.

Figures are GiB as `nvidia-smi mig -lgip` printed them on such cards, the smallest where dumps
differ. They were read, not measured by us: a node's own labels always win over this table.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Profile(NamedTuple):
    """One MIG profile of a card."""

    memory: float
    """Usable GiB."""
    slices: int
    """Compute slices, of 7."""


class Card(NamedTuple):
    """One model of GPU."""

    name: str
    product: str
    """Regular expression for the node label `nvidia.com/gpu.product`."""
    memory: float
    """Usable GiB of the whole card."""
    profiles: Mapping[str, Profile]


CARDS: tuple[Card, ...] = (
    Card(
        "A100-40GB",
        r"A100(?!.*80GB)",
        39.25,
        {
            "1g.5gb": Profile(4.75, 1),
            "1g.10gb": Profile(9.62, 1),
            "2g.10gb": Profile(9.62, 2),
            "3g.20gb": Profile(19.5, 3),
            "4g.20gb": Profile(19.5, 4),
            "7g.40gb": Profile(39.25, 7),
        },
    ),
    Card(
        "A100-80GB",
        r"A100.*80GB",
        79.0,
        {
            "1g.10gb": Profile(9.5, 1),
            "1g.20gb": Profile(19.5, 1),
            "2g.20gb": Profile(19.5, 2),
            "3g.40gb": Profile(39.25, 3),
            "4g.40gb": Profile(39.25, 4),
            "7g.80gb": Profile(79.0, 7),
        },
    ),
    Card(
        "H100-94GB",
        r"H100.*(NVL|94GB)",
        92.6,
        {
            "1g.12gb": Profile(10.62, 1),
            "1g.24gb": Profile(21.5, 1),
            "2g.24gb": Profile(21.5, 2),
            "3g.47gb": Profile(46.1, 3),
            "4g.47gb": Profile(46.1, 4),
            "7g.94gb": Profile(92.6, 7),
        },
    ),
    Card(
        "H100-80GB",
        r"H100",
        79.25,
        {
            "1g.10gb": Profile(9.75, 1),
            "1g.20gb": Profile(19.62, 1),
            "2g.20gb": Profile(19.62, 2),
            "3g.40gb": Profile(39.5, 3),
            "4g.40gb": Profile(39.5, 4),
            "7g.80gb": Profile(79.25, 7),
        },
    ),
    Card(
        "H200-141GB",
        r"H200",
        140.0,
        {
            "1g.18gb": Profile(16.0, 1),
            "1g.35gb": Profile(32.5, 1),
            "2g.35gb": Profile(32.5, 2),
            "3g.71gb": Profile(70.0, 3),
            "4g.71gb": Profile(70.0, 4),
            "7g.141gb": Profile(140.0, 7),
        },
    ),
)
_NAMED = re.compile(r"^(\d+)g\.(\d+)gb")
_UNKNOWN_SHARE = 0.88
"""The least share of its name that a slice of a known card can hold is 16/18."""


def card(product: str) -> Card | None:
    """The card behind a product label such as `NVIDIA-A100-SXM4-80GB`; the first that matches."""
    return next((each for each in CARDS if re.search(each.product, product)), None)


def profile(name: str, product: str) -> Profile | None:
    """What a MIG profile of that product holds; None for a name that is none.

    Of a card that the table lacks, its name is taken for a little more than the truth.
    """
    known = card(product)
    plain = name.split(".me", maxsplit=1)[0]
    if known and plain in known.profiles:
        return known.profiles[plain]
    named = _NAMED.match(name)
    return Profile(float(named.group(2)) * _UNKNOWN_SHARE, int(named.group(1))) if named else None
