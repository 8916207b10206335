"""Numbers as people read them: four digits, and no power of ten where a comma does."""

import math

_COMMA = 10_000
_GREAT, _SMALL = 1e7, 1e-4


def figure(value: float, digits: int = 4) -> str:
    """`97,720` for 97716.3, `0.0262` for 0.026170, `2.1e-8` for what is smaller, years without a comma."""
    rounded = float(f"{value:.{digits}g}")
    size = abs(rounded)
    if not math.isfinite(rounded) or size >= _GREAT or 0 < size < _SMALL:
        mantissa, _, power = f"{rounded:.{digits}g}".partition("e")
        return f"{mantissa}e{int(power)}" if power else mantissa
    if size >= _COMMA:
        return f"{rounded:,.0f}"
    return f"{rounded:.{max(digits, 4)}g}"
