"""Redis URLs: the forms of docs/redis.md are read, and nothing else; errors show no password."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.errors import SettingsError
from ime_live.settings import GatewaySettings, StoreSettings
from ime_live.store.network.connections import Connections
from ime_live.store.network.redis_url import Kind, RedisUrl, read_redis_url
from tests.support.paths import ROOT
from tests.support.rows import each_row

SINGLE, SENTINEL, CLUSTER = Kind


@each_row(
    ("url", "meaning"),
    [
        ("redis://host", RedisUrl(kind=SINGLE, hosts=(("host", 6379),))),
        ("redis://host/", RedisUrl(kind=SINGLE, hosts=(("host", 6379),))),
        ("redis://a-b.c_d.:1/15", RedisUrl(kind=SINGLE, hosts=(("a-b.c_d.", 1),), database=15)),
        ("redis://host?db=3", RedisUrl(kind=SINGLE, hosts=(("host", 6379),), database=3)),
        (
            "redis://:p%40ss%2Fw%C3%A9@10.0.0.1:65535",
            RedisUrl(kind=SINGLE, hosts=(("10.0.0.1", 65535),), login={"password": "p@ss/wé"}),
        ),
        (
            "redis://us%20er:a:b+c=,@[::1]:7/0",
            RedisUrl(
                kind=SINGLE,
                hosts=(("::1", 7),),
                login={"username": "us er", "password": "a:b+c=,"},
            ),
        ),
        (
            "redis://nopass:@[2001:db8::1]",
            RedisUrl(
                kind=SINGLE,
                hosts=(("2001:db8::1", 6379),),
                login={"username": "nopass", "password": ""},
            ),
        ),
        (
            "rediss://host",
            RedisUrl(
                kind=SINGLE,
                hosts=(("host", 6379),),
                tls={"ssl_cert_reqs": "required", "ssl_check_hostname": True},
            ),
        ),
        (
            "rediss://host?ssl_cert_reqs=none",
            RedisUrl(
                kind=SINGLE,
                hosts=(("host", 6379),),
                tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False},
            ),
        ),
        ("unix:///run/valkey.sock", RedisUrl(kind=SINGLE, path="/run/valkey.sock")),
        (
            "unix://u:p@/run/a%20b%40.sock?db=1",
            RedisUrl(
                kind=SINGLE,
                path="/run/a b@.sock",
                database=1,
                login={"username": "u", "password": "p"},
            ),
        ),
        (
            "redis+sentinel://u:p@one,two:1/my%20master/2?sentinel_username=s&sentinel_password=%2B",
            RedisUrl(
                kind=SENTINEL,
                hosts=(("one", 26379), ("two", 1)),
                service="my master",
                database=2,
                login={"username": "u", "password": "p"},
                sentinel_login={"username": "s", "password": "+"},
            ),
        ),
        (
            "redis+cluster://:p@one,[::1]:2/0",
            RedisUrl(kind=CLUSTER, hosts=(("one", 6379), ("::1", 2)), login={"password": "p"}),
        ),
    ],
)
def test_every_documented_form_is_read(url: str, meaning: RedisUrl) -> None:
    assert read_redis_url(url) == meaning


@each_row(
    ("url", "must"),
    [
        ("", "begin with one of"),
        ("localhost", "begin with one of"),
        ("localhost:6379", "begin with one of"),
        ("http://localhost", "begin with one of"),
        ("REDIS://localhost", "begin with one of"),
        ("valkey://localhost", "begin with one of"),
        (" redis://localhost", "begin with one of"),
        ("redis:/localhost", "begin with one of"),
        ("redis+replica://localhost", "begin with one of"),
        ("unix+cluster:///nowhere/valkey.sock", "begin with one of"),
        # The password is not quoted.
        ("redis://:SECRET@SECRET/w@host", "quote the password"),
        ("redis://:SECRET/w@host", "quote the password"),
        ("redis://:SECRET?w@host", "quote the password"),
        ("redis://:SECRET#w@host", "quote the password"),
        ("redis://host/1#SECRET", "quote the password"),
        ("redis://u:SECRET@SECRET@host", "quote the password"),
        ("redis://:SECRET%@host", "quote the password"),
        ("redis://:SECRET%4@host", "quote the password"),
        ("redis://:SECRET%zz@host", "quote the password"),
        ("redis://:SECRET%FF@host", "UTF-8"),
        ("redis://:SECRET SECRET@host", "no blanks"),
        ("redis://:SECRÉT@host", "no blanks"),
        ("redis://:SECRET[@host", "quote the password"),
        ("redis://:SECRET\\@host", "quote the password"),
        ("redis+sentinel://:SECRET/w@host/mymaster", "quote the password"),
        ("redis+cluster://a:SECRET,SECRET@b@c", "quote the password"),
        # User and password
        ("redis://SECRET@host", "user:password or :password"),
        ("redis://:@host", "user:password or :password"),
        ("redis://@host", "user:password before it"),
        ("redis://host?password=SECRET", "before the host"),
        ("unix:///run/valkey.sock?username=u&password=SECRET", "before the host"),
        # Hosts and ports
        ("redis://", "name a host"),
        ("redis://:6379", "name a host"),
        ("redis:///1", "name a host"),
        ("redis://u:SECRET@", "name a host"),
        (f"redis://u:SECRET@{'a' * 64}.example", "at most 63 characters between dots"),
        ("redis://u:SECRET@/1", "name a host"),
        ("redis://u:SECRET@:6379", "name a host"),
        ("redis://host:", "port from 1 to 65535"),
        ("redis://u:SECRET@host:port", "port from 1 to 65535"),
        ("redis://host:0", "port from 1 to 65535"),
        ("redis://host:65536", "port from 1 to 65535"),
        ("redis://host:-1", "port from 1 to 65535"),
        ("redis://host:+1", "port from 1 to 65535"),
        ("redis://host:06379", "port from 1 to 65535"),
        ("redis://u:SECRET", "port from 1 to 65535"),
        ("redis://host:1:2", "IPv6 address in brackets"),
        ("redis://::1", "IPv6 address in brackets"),
        ("redis://[::1", "IPv6 address in brackets"),
        ("redis://[::1]6379", "IPv6 address in brackets"),
        ("redis://[]:6379", "IPv6 address in brackets"),
        ("redis://[localhost]", "IPv6 address in brackets"),
        ("redis://[fe80::1%25eth0]", "IPv6 address in brackets"),
        ("redis://10.0.0.256", "an IPv4 address"),
        ("redis://10.1", "an IPv4 address"),
        ("redis://-host", "letters, digits"),
        ("redis://a..b", "letters, digits"),
        ("redis://%68ost", "letters, digits"),
        ("redis://one,two", "one host"),
        ("redis+sentinel:///mymaster", "name a host"),
        ("redis+sentinel://localhost,/mymaster", "name a host"),
        ("redis+cluster://", "name a host"),
        ("redis+cluster://one,,two", "name a host"),
        ("redis+cluster://one two", "no blanks"),
        ("redis://host\n", "no blanks"),
        ("redis://host\t/1", "no blanks"),
        ("redis://host\0", "no blanks"),
        # Databases
        ("redis://host/x", "number of a database"),
        ("redis://host/-1", "number of a database"),
        ("redis://host/1.0", "number of a database"),
        ("redis://host/01", "number of a database"),
        ("redis://host/%31", "number of a database"),
        ("redis://host//1", "number of a database"),
        ("redis://host/1/", "number of a database"),
        ("redis://host/1/2", "number of a database"),
        ("redis://host/99999999999999999999", "number of a database"),
        ("redis://host?db=x", "number of a database"),
        ("redis://host?db=-1", "number of a database"),
        ("redis://host/1?db=1", "name the database once"),
        ("redis://host/0?db=1", "name the database once"),
        ("redis+sentinel://host/mymaster/x", "number of a database"),
        ("redis+sentinel://host/mymaster/1?db=1", "name the database once"),
        ("redis+cluster://host/1", "name no database"),
        ("redis+cluster://host?db=0", "name no database"),
        # Sentinel's master, sockets
        ("redis+sentinel://localhost", "name Sentinel's master"),
        ("redis+sentinel://localhost/", "name Sentinel's master"),
        ("redis+sentinel://localhost//1", "name Sentinel's master"),
        ("redis+sentinel://h/m?sentinel_username=u", "must have sentinel_password"),
        ("unix://", "path of a socket"),
        ("unix:///", "path of a socket"),
        ("unix:///run/", "path of a socket"),
        ("unix:///run/%00", "path of a socket"),
        ("unix://run/valkey.sock", "three slashes"),
        ("unix:///run/a@b.sock", "@ is %40"),
        ("unix:///" + "x" * 107, "at most 107 bytes"),
        # Parameters
        ("redis://host?", "one ?"),
        ("redis://host??db=1", "one ?"),
        ("redis://host?db", "parameters as"),
        ("redis://host?db=", "parameters as"),
        ("redis://host?&db=1", "parameters as"),
        ("redis://host?db=1&db=2", "parameter db once"),
        ("redis://host?socket_timeout=1", "no parameter socket_timeout"),
        ("redis://host?DB=1", "no parameter DB"),
        ("redis+cluster://host?x=1", "none at all"),
        ("redis://host?ssl_ca_certs=ca.pem", "begin with rediss"),
        ("redis+sentinel://host/m?ssl_ca_certs=ca.pem", "begin with rediss"),
        ("redis://host?sentinel_password=SECRET", "one of Sentinel"),
        ("redis+sentinel://h/m?sentinel_password=SECRET+SECRET", r"\+ is %2B"),
        ("rediss://host?ssl_check_hostname=no", "true or false"),
        ("rediss://host?ssl_cert_reqs=optional", "none or required"),
        ("rediss://host?ssl_cert_reqs=none&ssl_check_hostname=true", "ssl_cert_reqs=required"),
        ("rediss://host?ssl_ca_certs=/nowhere/ca.pem", "/nowhere/ca.pem: no such file"),
        ("rediss://host?ssl_certfile=/nowhere/own.pem", "/nowhere/own.pem: no such file"),
        ("rediss://host?ssl_keyfile=/nowhere/key.pem", "must have ssl_certfile"),
    ],
)
def test_malformed_redis_url_is_refused_without_showing_a_password(url: str, must: str) -> None:
    with pytest.raises(SettingsError, match=f"^--redis-url .*{must}") as caught:
        Connections(StoreSettings(redis_url=url))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "SECR" not in str(caught.value)


PASSWORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%")).map(
    lambda text: f"{text}SECRET"
)


@given(PASSWORDS)
@example("p@ss/word?x=1#ySECRET")
@example("two\nlines@SECRET")
def test_quoted_password_is_read_as_it_is(password: str) -> None:
    quoted = quote(password, safe="")
    for url in (f"redis://user:{quoted}@host", f"redis+cluster://:{quoted}@host,other"):
        assert read_redis_url(url).login["password"] == password
    url = f"redis+sentinel://host/m?sentinel_password={quoted}"
    assert read_redis_url(url).sentinel_login["password"] == password


@given(PASSWORDS)
@example("p@ss/wSECRET")
@example("1/2SECRET")
@example("x@y:1/2?db=1&SECRET")
def test_unquoted_password_is_refused_or_read_whole_and_never_shown(password: str) -> None:
    for form in ("redis://:{}@host/1", "unix://u:{}@/a", "redis+sentinel://u:{}@a,b/m"):
        try:
            url = read_redis_url(form.format(password))
        except SettingsError as error:
            said = str(error)
        else:
            assert url.login["password"] == password
            said = repr(url)
        assert "SECR" not in said


def test_settings_do_not_show_secrets_in_their_repr() -> None:
    settings = GatewaySettings(redis_url="redis://:SECRET@host", jwt_secret="SECRET" * 6)
    assert "SECRET" not in repr(settings)
    assert "host='127.0.0.1'" in repr(settings)


def test_documented_forms_are_those_that_are_read() -> None:
    text = (ROOT / "docs" / "redis.md").read_text()
    schemes = set(re.findall(r"`((?:redis|unix)[a-z+]*)://", text))
    with pytest.raises(SettingsError) as caught:
        read_redis_url("")
    assert schemes == set(re.findall(r"([a-z+]+)://", str(caught.value)))
