"""The end of the server's certificate, as Prometheus sees it."""

import datetime as dt
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from gyre_serving.router.auth.expiry import ends
from tests.serving.support.certificates import Authority, secret

METRIC = "gyre_router_certificate_expiry_timestamp_seconds"
KEY = ed25519.Ed25519PrivateKey.generate()


def _made(end: dt.datetime, *, padding: int = 0) -> bytes:
    """A certificate that ends then; the padding makes its issuer's name long."""
    units = [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 60)] * padding
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a"), *units])
    built = x509.CertificateBuilder(name, name, KEY.public_key(), x509.random_serial_number())
    signed = built.not_valid_before(dt.datetime(1960, 1, 1, tzinfo=dt.UTC)).not_valid_after(end).sign(KEY, None)
    return signed.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    "years",
    [
        pytest.param((2027,), id="two digits of a year"),
        pytest.param((1999,), id="two digits of the last century"),
        pytest.param((2049,), id="the last year of two digits"),
        pytest.param((2050,), id="four digits of a year"),
        pytest.param((2300, 2030, 2040), id="the first of a chain that ends"),
    ],
)
@pytest.mark.parametrize("padding", [0, 1, 5], ids=["short", "a length of one byte", "a length of two"])
def test_end_is_read_from_any_form(years: tuple[int, ...], padding: int) -> None:
    """Both forms of dates, all lengths of names, and text between the certificates of a chain."""
    dates = [dt.datetime(year, 12, 31, 23, 59, 58, tzinfo=dt.UTC) for year in years]
    chain = b"subject=/CN=a\n".join(_made(date, padding=padding) for date in dates)
    assert ends(chain) == min(dates).timestamp()


@pytest.mark.parametrize("form", ["X509", "TRUSTED"])
def test_end_is_read_from_every_name_of_a_certificate(form: str) -> None:
    """OpenSSL serves with certificates of all three names (one that was not found here ended the router)."""
    date = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    assert ends(_made(date).replace(b" CERTIFICATE", f" {form} CERTIFICATE".encode())) == date.timestamp()


@pytest.mark.parametrize(
    ("good", "odd"),
    [
        pytest.param(b"20500101000000Z", b"205001010000.5Z", id="fractions of a second"),
        pytest.param(b"20500101000000Z", b"2050010100+0000", id="a zone"),
        pytest.param(b"20500101000000Z", b"20501301000000Z", id="a month that is none"),
    ],
)
def test_end_in_a_forbidden_form_is_unknown(good: bytes, odd: bytes) -> None:
    """A date that cannot be read is no reason to serve no longer."""
    der = ssl.PEM_cert_to_DER_cert(_made(dt.datetime(2050, 1, 1, tzinfo=dt.UTC)).decode())
    assert good in der
    assert ends(ssl.DER_cert_to_PEM_cert(der.replace(good, odd)).encode()) is None


async def test_metric_follows_the_certificate(secured: Any, authority: Authority) -> None:
    """The gauge tells the end of the certificate in use, and of the next one once that is taken."""
    router = await secured()

    async def told() -> float:
        async with router.running.session.get(f"{router.running.control}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(METRIC)))

    shown = x509.load_pem_x509_certificate((router.folder / "tls" / "tls.crt").read_bytes())
    assert await told() == shown.not_valid_after_utc.timestamp()
    later = authority.client(dns="localhost", seconds=7200)
    secret(router.folder / "tls", later, authority)
    await router.refresh()
    assert await told() == x509.load_pem_x509_certificate(later.certificate).not_valid_after_utc.timestamp()


async def test_router_without_tls_tells_no_end(start: Any, models: Any, kit: Any) -> None:
    """Nothing is there to run out, so that no rule counts from the year 1970."""
    router = await start(kit.table(kit.route(await models())))
    async with router.session.get(f"{router.control}/metrics") as answer:
        assert METRIC not in await answer.text()
