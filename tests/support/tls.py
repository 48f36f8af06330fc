"""Self-signed certificates for scripted upstreams, made by the openssl command."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["good", "expired", "wrong_name"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that vouches for itself: `cert` is also the CA file that trusts it."""

    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """A context for `scripted_upstream(..., tls=...)`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def make_certificate(folder: Path, kind: Kind = "good") -> Certificate:
    """Make a certificate for 127.0.0.1 and localhost in `folder`: a good one, one long expired, or for another name."""
    cert, key = folder / f"{kind}.pem", folder / f"{kind}.key"
    names = "DNS:elsewhere.example" if kind == "wrong_name" else "DNS:localhost,IP:127.0.0.1"
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2",
             "-subj", "/CN=scripted upstream", "-addext", f"subjectAltName={names}",
             "-keyout", str(key), "-out", str(cert))  # fmt: skip
    if kind == "expired":
        _openssl("x509", "-in", str(cert), "-signkey", str(key), "-days", "-1", "-out", str(cert))
    return Certificate(cert, key)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
