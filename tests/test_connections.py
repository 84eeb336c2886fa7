from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.connections import redacted
from ime_live.embedded import EmbeddedValkey
from ime_live.errors import SettingsError, StoreError
from ime_live.settings import StoreSettings
from ime_live.store import Store


async def test_a_socket_or_host_that_is_not_there() -> None:
    async with Store(StoreSettings(redis_url="unix:///nowhere/valkey.sock")) as store:
        with pytest.raises(
            StoreError, match=r"^Redis at /nowhere/valkey.sock cannot be reached: no such file"
        ):
            await store.ping()
    async with Store(StoreSettings(redis_url="redis://no-such-host.invalid")) as store:
        with pytest.raises(
            StoreError, match=r"^Redis at no-such-host.invalid:6379 cannot be reached: "
        ):
            await store.ping()


async def test_no_answer_in_time() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silenced.append(writer)

    silenced: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(silent, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    url = f"redis://127.0.0.1:{port}"
    async with server, Store(StoreSettings(redis_url=url, redis_timeout=0.05)) as store:
        with pytest.raises(
            StoreError, match=rf"^Redis at 127.0.0.1:{port} did not answer within 0.05 s$"
        ):
            await store.ping()
        for writer in silenced:
            writer.close()


async def test_passwords(own_valkey: EmbeddedValkey) -> None:
    async with Store(StoreSettings(redis_url=own_valkey.url)) as store:
        await store.connections.client().config_set("requirepass", "p@ss/word")
    place = own_valkey.url.removeprefix("redis://")
    async with Store(StoreSettings(redis_url=f"redis://:p%40ss%2Fword@{place}/3")) as store:
        await store.ping()
    for login, reason in ((":wrong-secret@", "refused the login"), ("", "refused the login")):
        async with Store(StoreSettings(redis_url=f"redis://{login}{place}")) as store:
            with pytest.raises(StoreError, match=f"^Redis at {place} {reason}") as caught:
                await store.ping()
            assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "redis://u:secret@host:port",
        "redis://:sec/ret@host",
        "redis://localhost?secret=1",
        "redis://localhost?db=x",
        "unix://",
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="is not a URL of Redis") as caught:
        Store(StoreSettings(redis_url=url))
    assert caught.value.__cause__ is None
    assert "ret@" not in str(caught.value)
    assert "secret@" not in str(caught.value)


@given(st.text(min_size=1))
@example("p@ss/word?x=1#y")
@example("two\nlines@")
def test_a_password_is_never_shown(secret: str) -> None:
    marked = f"<<{secret}>>"
    for url in (f"redis://user:{marked}@host:1/2", f"redis://:{quote(marked)}@host:1/2"):
        assert redacted(url) == "redis://***@host:1/2"
    assert quote(marked) not in redacted(f"redis://host?password={quote(marked)}&db=1")


def test_what_is_not_secret_stays() -> None:
    assert redacted("redis://host:1/2?db=3") == "redis://host:1/2?db=3"
    assert redacted("unix:///run/valkey.sock") == "unix:///run/valkey.sock"
