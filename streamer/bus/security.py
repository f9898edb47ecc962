"""What the client needs to hear of TLS and passwords."""

import ssl
from typing import Any

from engines.errors import UsageError
from streamer.bus.settings import Security


def security_options(security: Security) -> dict[str, Any]:
    """Say to the client what the config says about TLS and SASL; reads the passwords now."""
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.uses_tls:
        options["ssl_context"] = _tls(security)
        options["ssl_check_hostname"] = security.check_hostname
    if security.uses_sasl:
        options["sasl_mechanism"] = security.mechanism
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password()
    return options


def _tls(security: Security) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.cafile)
        context.check_hostname = security.check_hostname
        if security.certfile:
            context.load_cert_chain(
                security.certfile, security.keyfile, password=security.key_password()
            )
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f for f in (security.cafile, security.certfile, security.keyfile) if f)
        raise UsageError(f"bus.security: {files} cannot be used for TLS: {error}") from error
    return context
