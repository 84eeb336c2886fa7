"""Parse the URL of Redis or Valkey strictly.

The parser of redis-py silently uses a part of an unquoted password as the host, and database 0 for
a database that is not a number. This parser accepts exactly the forms in docs/redis.md. Its errors
do not quote the URL, because any invalid part may be a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

from ime_live.errors import SettingsError
from ime_live.settings.rule import shown_url
from ime_live.store.network.tls_options import TLS_PARAMETERS, TlsOptionsError, read_tls_options


class Kind(StrEnum):
    """Kinds of deployments that a URL can name."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    "redis": (Kind.SINGLE, False),
    "rediss": (Kind.SINGLE, True),
    "unix": (Kind.SINGLE, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}

_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379

# RFC 3986, 3.2.1: characters of a user or a password.
_LOGIN: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})+")
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_OF_A_URL: Final = re.compile(r"[^!-~]")

_MAX_LABEL: Final = 63
"""Maximum length of a part of a host name (RFC 1035, section 2.3.4)."""

_MAX_SOCKET_PATH: Final = 107
"""Maximum length [bytes]; sun_path of unix(7) has one byte more."""

_SENTINEL_PARAMETERS: Final = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, kw_only=True)
class RedisUrl:
    """A parsed URL of Redis, from `read_redis_url`.

    Attributes:
        kind: kind of deployment.
        hosts: hosts and ports of the server, the Sentinels, or some nodes of the cluster; empty
            for a Unix socket.
        path: path of the Unix socket; empty without one.
        service: Sentinel's name of the master; empty without Sentinel.
        database: number of the database.
        login: redis-py's options ``username`` and ``password``, if they are in the URL.
        sentinel_login: the same options for the Sentinels.
        tls: redis-py's options for TLS; None without TLS.
    """

    kind: Kind
    hosts: Sequence[tuple[str, int]] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Mapping[str, Any] | None = None


def read_redis_url(url: str) -> RedisUrl:
    """Parse the URL of Redis, without connecting.

    >>> read_redis_url("redis://:p%40ss@example.org/1").hosts
    (('example.org', 6379),)

    Raises:
        SettingsError: the URL is not in one of the forms of docs/redis.md, or names a file that
            cannot be read. The text quotes no part that cannot be parsed.
    """
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in _SCHEMES:
        raise SettingsError(
            f"--redis-url must begin with one of {', '.join(f'{each}://' for each in _SCHEMES)}, "
            f"got {_shown(url)}"
        )
    try:
        return _read(scheme, rest)
    except _UrlError as error:
        # Without the cause, whose text may quote the URL.
        raise SettingsError(f"--redis-url {error}, got {scheme}://***") from None


def _shown(url: str) -> str:
    # Only the scheme, because any other part may be the password.
    scheme, colon, _ = shown_url(url)[1:-1].partition("://")
    return f"'{scheme}://***'" if colon else repr(url) if not url else "a text without ://"


class _UrlError(ValueError):
    # The text quotes only names of parameters and files.
    pass


def _read(scheme: str, rest: str) -> RedisUrl:
    kind, tls = _SCHEMES[scheme]
    if _NOT_OF_A_URL.search(rest):
        raise _UrlError(
            "must have no blanks, control characters or letters beyond ASCII: quote them (a blank "
            "is %20)"
        )
    if _BROKEN_ESCAPE.search(rest):
        raise _UrlError("must have two hex digits after each %: quote the password (% is %25)")
    authority, path, query = _split(rest)
    login, places = _login_of(authority)
    parameters = _parameters_of(query)
    allowed = [
        *(["db"] if kind is not Kind.CLUSTER else []),
        *(TLS_PARAMETERS if tls else ()),
        *(_SENTINEL_PARAMETERS if kind is Kind.SENTINEL else ()),
    ]
    for name in parameters:
        if name not in allowed:
            raise _unknown_parameter(name, allowed)
    url: dict[str, Any] = {"kind": kind, "login": login}
    if scheme == "unix":
        url |= {"path": _socket_of(places, path), "database": _database("", parameters)}
    elif kind is Kind.SENTINEL:
        service, _, database = path.removeprefix("/").partition("/")
        url["service"] = _decoded(service)
        if not service:
            raise _UrlError(
                "must name Sentinel's master, as in redis+sentinel://host:26379/mymaster"
            )
        url |= {
            "hosts": _hosts_of(places, _SENTINEL_PORT),
            "database": _database(database, parameters),
            "sentinel_login": {
                name.removeprefix("sentinel_"): parameters[name]
                for name in _SENTINEL_PARAMETERS
                if name in parameters
            },
        }
        if "username" in url["sentinel_login"] and "password" not in url["sentinel_login"]:
            raise _UrlError("must have sentinel_password where it has sentinel_username")
    else:
        url["hosts"] = _hosts_of(places, _REDIS_PORT)
        if kind is Kind.SINGLE and len(url["hosts"]) > 1:
            raise _UrlError(
                "must name one host; several are Sentinels (redis+sentinel://) or nodes of a "
                "cluster (redis+cluster://)"
            )
        url["database"] = _database(path.removeprefix("/"), parameters)
        if kind is Kind.CLUSTER and url["database"]:
            raise _UrlError("must name no database: a cluster has none but 0")
    if tls:
        try:
            url["tls"] = read_tls_options(parameters)
        except TlsOptionsError as error:
            raise _UrlError(str(error)) from None
    return RedisUrl(**url)


def _split(rest: str) -> tuple[str, str, str]:
    """Return authority, path and query."""
    unquoted = "must have no unquoted {} in user or password: quote the password ({})"
    if "#" in rest:
        raise _UrlError(unquoted.format("#", "# is %23"))
    end = re.search(r"[/?]|$", rest)
    assert end is not None  # noqa: S101 - there is always an end
    authority, left = rest[: end.start()], rest[end.start() :]
    if "@" in left:
        raise _UrlError(unquoted.format("/, ? or @", "/ is %2F, ? is %3F, @ is %40"))
    path, _, query = left.partition("?")
    if left.endswith("?") or "?" in query:
        raise _UrlError("must have one ? before parameters, and none elsewhere (quoted, it is %3F)")
    return authority, path, query


def _login_of(authority: str) -> tuple[dict[str, str], str]:
    """Return user and password as options of redis-py, and the rest of the authority."""
    if "@" not in authority:
        return {}, authority
    login, places = authority.rsplit("@", 1)
    if not _LOGIN.fullmatch(login):
        raise _UrlError(
            "must have one @, and user:password before it, with everything in them quoted that is "
            "not a letter or digit: quote the password (@ is %40)"
        )
    user, colon, password = login.partition(":")
    if not colon or not (user or password):
        raise _UrlError("must have user:password or :password before the @")
    options = {"password": _decoded(password)}
    if user:
        options["username"] = _decoded(user)
    return options, places


def _hosts_of(places: str, port: int) -> tuple[tuple[str, int], ...]:
    return tuple(_host_of(place, port) for place in places.split(","))


def _host_of(place: str, default: int) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?", place)
    if match is None:
        raise _UrlError(
            "must name hosts as host:port, with an IPv6 address in brackets ([::1]:6379), and a "
            "password before an @"
        )
    host, port = match[1], match[2]
    if not host:
        raise _UrlError("must name a host, as in redis://localhost:6379")
    if port is not None and not (_NUMBER.fullmatch(port) and 0 < int(port) <= 65_535):
        raise _UrlError("must have a port from 1 to 65535 after a host and a colon")
    if host.startswith("["):
        host = host[1:-1]
        is_valid = _is_address(ipaddress.IPv6Address, host) and "%" not in host
    else:
        # Resolvers treat a name whose last part is a number as an address.
        ends_in_number = host.rstrip(".").rpartition(".")[2].isdigit()
        is_valid = bool(_NAME.fullmatch(host)) and ".." not in host
        is_valid = is_valid and (not ends_in_number or _is_address(ipaddress.IPv4Address, host))
    if not is_valid:
        raise _UrlError(
            "must name a host by letters, digits, dots and hyphens, by an IPv4 address, or by an "
            "IPv6 address in brackets"
        )
    if any(len(label) > _MAX_LABEL for label in host.split(".")):
        raise _UrlError(f"must name a host with at most {_MAX_LABEL} characters between dots")
    return host, default if port is None else int(port)


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _socket_of(places: str, path: str) -> str:
    if places:
        raise _UrlError("must have three slashes before the path, as in unix:///path/to/socket")
    decoded = _decoded(path)
    if decoded.endswith("/") or not decoded or "\0" in decoded:
        raise _UrlError("must have the path of a socket, as in unix:///path/to/socket")
    if len(decoded.encode()) > _MAX_SOCKET_PATH:
        raise _UrlError(f"must have a path of at most {_MAX_SOCKET_PATH} bytes: no socket has more")
    return decoded


def _database(text: str, parameters: Mapping[str, str]) -> int:
    if text and "db" in parameters:
        raise _UrlError("must name the database once: in the path or as ?db=")
    text = text or parameters.get("db", "0")
    if not _NUMBER.fullmatch(text):
        raise _UrlError("must have the number of a database, 0 or more, or nothing in its place")
    return int(text)


def _parameters_of(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", name) or not equals or not value:
            raise _UrlError("must have parameters as ?name=value&name=value")
        if name in parameters:
            raise _UrlError(f"must have the parameter {name} once")
        if "+" in value:
            # In forms + means a blank, in other URLs it means itself.
            raise _UrlError(f"must have no + in {name}: quote it (+ is %2B, a blank is %20)")
        parameters[name] = _decoded(value)
    return parameters


def _unknown_parameter(name: str, allowed: Sequence[str]) -> _UrlError:
    if name in ("username", "password"):
        return _UrlError("must have user and password before the host, as user:password@host")
    if name in TLS_PARAMETERS:
        return _UrlError(f"must begin with rediss to have {name}: TLS is used with rediss only")
    if name in _SENTINEL_PARAMETERS:
        return _UrlError(f"must be one of Sentinel (redis+sentinel://) to have {name}")
    if name == "db":
        return _UrlError("must name no database: a cluster has none but 0")
    known = ", ".join(allowed) or "none at all"
    return _UrlError(f"must have no parameter {name} (known here: {known})")


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _UrlError("must have bytes of UTF-8 after %, as in %C3%A9") from None
