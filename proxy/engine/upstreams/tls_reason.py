"""Why a TLS handshake failed, in OpenSSL's own words: names of rules and hosts, nothing that was sent."""

import ssl

import aiohttp


def tls_reason(error: BaseException) -> str:
    """The reason, such as `CERTIFICATE_VERIFY_FAILED: self-signed certificate`; else the name of the error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError) and not isinstance(found, aiohttp.ClientError):  # those have no reason
            said = found.reason or type(found).__name__
            return f"{said}: {found.verify_message}" if isinstance(found, ssl.SSLCertVerificationError) else said
        found = found.__cause__
    return type(error).__name__
