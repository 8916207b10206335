"""Authorities and certificates made on the spot."""

import datetime as dt
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def files(self, folder: Path, name: str) -> tuple[str, str]:
        """Both as files."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return str(certificate), str(key)


class Authority:
    """Signs certificates of servers and clients."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        built = self._built(self._name, self._key, 3600).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        signs = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, decipher_only=False, **usage)
        self._certificate = built.add_extension(signs, critical=True).sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self) -> Pair:
        """For 127.0.0.1 and localhost."""
        names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
        return self._leaf("server", names, ExtendedKeyUsageOID.SERVER_AUTH, 3600)

    def client(self, common_name: str = "", *, uri: str = "", dns: str = "", seconds: float = 3600) -> Pair:
        """For a client; it ends in so many seconds."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
        names += [x509.DNSName(dns)] if dns else []
        return self._leaf(common_name, names, ExtendedKeyUsageOID.CLIENT_AUTH, seconds)

    def _leaf(self, common: str, names: list[x509.GeneralName], use: x509.ObjectIdentifier, seconds: float) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        built = self._built(_name(common), key, seconds)
        built = built.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        built = built.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = built.sign(self._key, hashes.SHA256())
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(signed.public_bytes(serialization.Encoding.PEM), text)

    def _built(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, seconds: float) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(seconds=seconds))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


def secret(folder: Path, server: Pair, *authorities: Authority) -> Path:
    """A directory as a mounted Secret of type kubernetes.io/tls is; what it held before changes all at once."""
    kept = folder / f"..{len(list(folder.glob('..[0-9]*')))}" if folder.exists() else folder / "..0"
    kept.mkdir(parents=True)
    (kept / "tls.crt").write_bytes(server.certificate)
    (kept / "tls.key").write_bytes(server.key)
    if authorities:
        (kept / "ca.crt").write_bytes(b"".join(one.pem for one in authorities))
    fresh = folder / "..fresh"
    fresh.symlink_to(kept.name)
    fresh.rename(folder / "..data")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return folder


def client_context(trusts: Authority, shown: tuple[str, str] | None = None) -> ssl.SSLContext:
    """What a client needs: whom it trusts, and the certificate and key that it shows."""
    context = ssl.create_default_context(cadata=trusts.pem.decode())
    if shown is not None:
        context.load_cert_chain(*shown)
    return context
