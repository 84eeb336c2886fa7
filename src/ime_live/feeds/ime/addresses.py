"""Addresses: the URLs of the exchange that settings give, checked before anything is asked for."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from ime_live.errors import SettingsError


def read_base(url: str, option: str) -> SplitResult:
    """Read a URL that others are made from; its path ends in a slash.

    Args:
        url: as it was given.
        option: its name, for texts.

    Raises:
        SettingsError: it is not an http or https URL, or holds a password or a query.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises for what is not a port
    except ValueError as error:
        raise SettingsError(f"{option} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"{option} is not an http or https URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(f"{option} must not have a user, a query or a fragment")
    return parts._replace(path=parts.path.rstrip("/") + "/")
