"""When a certificate ends: the standard library tells that of authorities only, so its DER (X.690) is walked here."""

import base64
import re
from datetime import UTC, datetime

_PEM = re.compile(
    r"-----BEGIN (?P<form>X509 |TRUSTED |)CERTIFICATE-----(.+?)-----END (?P=form)CERTIFICATE-----", re.DOTALL
)
"""All that OpenSSL takes as a server's certificate; behind a trusted one stands what it is trusted for."""
_VERSION = 0xA0
_UTC_TIME = 0x17
_LONG = 0x80


def ends(chain: bytes) -> float | None:
    """When the first certificate of a chain ends, which breaks it: seconds since 1970.

    None where that cannot be read: OpenSSL takes dates that RFC 5280 forbids, and who serves with such a one goes on.

    Args:
        chain: PEM that OpenSSL has loaded.
    """
    try:
        return min(_end(base64.b64decode(found[2])) for found in _PEM.finditer(chain.decode("latin-1")))
    except (ValueError, IndexError):
        return None


def _end(certificate: bytes) -> float:
    """Of one: what is to be signed begins with version, serial number, algorithm, issuer and then its two dates."""
    at = _inside(certificate, _inside(certificate, 0))
    skipped = 4 if certificate[at] == _VERSION else 3
    for _ in range(skipped):
        at = _behind(certificate, at)
    at = _behind(certificate, _inside(certificate, at))
    text = certificate[_inside(certificate, at) : _behind(certificate, at)].decode()
    if certificate[at] == _UTC_TIME:  # two digits of the year, up to 2049
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _inside(data: bytes, at: int) -> int:
    """Where the content of the element begins."""
    length = data[at + 1]
    return at + 2 + (length & ~_LONG if length & _LONG else 0)


def _behind(data: bytes, at: int) -> int:
    """Where the next element begins."""
    start, length = _inside(data, at), data[at + 1]
    return start + (int.from_bytes(data[at + 2 : start], "big") if length & _LONG else length)
