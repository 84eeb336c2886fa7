"""TLS options of connections to Redis, from the parameters of its URL."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from ime_live.errors import system_reason

TLS_PARAMETERS: Final = (
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs"),
)
"""Parameters of a URL that begins with rediss."""


class TlsOptionsError(ValueError):
    """An option cannot be used; the text follows the name of the setting in an error message."""


def read_tls_options(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return redis-py's options for TLS from the parameters of a URL; others are ignored.

    The files are read, so that an invalid file is reported at the start.

    Raises:
        TlsOptionsError: an option is not valid, or its file cannot be read.
    """
    options: dict[str, Any] = {n: v for n, v in parameters.items() if n in TLS_PARAMETERS}
    reqs = options.get("ssl_cert_reqs", "required")
    if reqs not in ("none", "required"):
        raise TlsOptionsError("must have none or required as ssl_cert_reqs")
    checks = options.get("ssl_check_hostname", "true" if reqs == "required" else "false")
    if checks not in ("true", "false"):
        raise TlsOptionsError("must have true or false as ssl_check_hostname")
    if reqs == "none" and checks == "true":
        raise TlsOptionsError("must have ssl_cert_reqs=required to have ssl_check_hostname=true")
    options |= {"ssl_cert_reqs": reqs, "ssl_check_hostname": checks == "true"}
    context = ssl.create_default_context()
    if ca := options.get("ssl_ca_certs"):
        try:
            context.load_verify_locations(ca)
        except (OSError, ValueError) as error:
            raise _unreadable("ssl_ca_certs", "certificates", ca, error) from None
    own, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if key and not own:
        raise TlsOptionsError("must have ssl_certfile where it has ssl_keyfile")
    if own:
        try:
            # Without `password`, OpenSSL would ask for the password of a key on the terminal.
            context.load_cert_chain(own, key, password=lambda: "")
        except (OSError, ValueError) as error:
            files = f"{own} and {key}" if key else own
            content = "a certificate and its key without a password"
            raise _unreadable("ssl_certfile", content, files, error) from None
        options["ssl_keyfile"] = key or own  # redis-py 6 requires a key file
    return options


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the SSL context for options of `read_tls_options`, as redis-py makes it."""
    context = ssl.create_default_context()
    context.check_hostname = options["ssl_check_hostname"]
    if options["ssl_cert_reqs"] == "none":
        context.verify_mode = ssl.CERT_NONE
    if "ssl_ca_certs" in options:
        context.load_verify_locations(options["ssl_ca_certs"])
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options["ssl_keyfile"])
    return context


def _unreadable(name: str, content: str, file: str, error: Exception) -> TlsOptionsError:
    reason = system_reason(error) or type(error).__name__.lower()
    return TlsOptionsError(f"must have PEM of {content} in {name}; {file}: {reason}")
