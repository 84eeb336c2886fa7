"""The caller: which calls it repeats, when it renews the token, and the errors that remain."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import ime_live
from ime_live.client.rest.async_client import AsyncClient
from tests.client.rest_service import Rest
from tests.support.rows import each_row


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries [seconds], none of which takes place."""
    noted: list[float] = []

    async def sleep(seconds: float) -> None:
        noted.append(seconds)

    monkeypatch.setattr("ime_live.client.rest.caller.asyncio.sleep", sleep)
    return noted


async def test_refused_token_is_renewed_once_or_an_error(rest: Rest) -> None:
    rest.statuses = [401]
    with pytest.raises(ime_live.AuthenticationError, match="so it is"):
        await AsyncClient(rest.url, token="bad").contracts(["A"])
    tokens = iter(["old", "new"])
    rest.statuses = [401]
    assert await AsyncClient(rest.url, token=lambda: next(tokens)).contracts(["A"])
    assert [token for _, _, token in rest.requested] == ["Bearer bad", "Bearer old", "Bearer new"]


async def test_concurrent_calls_renew_an_expired_token_once(rest: Rest) -> None:
    requested: list[str] = []

    def token() -> str:
        requested.append("token")
        return f"t{len(requested)}"

    client = AsyncClient(rest.url, token=token)
    rest.good, rest.together = "t1", threading.Barrier(3)
    await asyncio.gather(*(client.contracts(["A"]) for _ in range(3)))
    assert len(requested) == 1
    rest.good = "t2"  # t1 is refused three times at the same time
    found = await asyncio.gather(*(client.contracts(["A"]) for _ in range(3)))
    assert [len(each) for each in found] == [1, 1, 1]
    assert len(requested) == 2
    rest.good = "another"
    ends = await asyncio.gather(
        *(client.contracts(["A"]) for _ in range(3)), return_exceptions=True
    )
    assert [type(end) for end in ends] == [ime_live.AuthenticationError] * 3
    # Retries end, but a later call is not lost.
    rest.good, rest.together = f"t{len(requested) + 1}", None
    assert await client.contracts(["A"])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_busy_service_is_retried(rest: Rest, waits: list[float], status: int) -> None:
    rest.statuses = [status]
    assert await AsyncClient(rest.url, tries=2).contracts(["A"])
    assert len(waits) == 1
    rest.statuses = [status]
    with pytest.raises(ime_live.ServiceError, match="so it is") as caught:
        await AsyncClient(rest.url, tries=1).contracts(["A"])
    assert caught.value.status == status


async def test_short_retry_after_is_respected(rest: Rest, waits: list[float]) -> None:
    client = AsyncClient(rest.url, tries=2)
    rest.statuses, rest.retry_after = [429], "3"
    assert await client.contracts(["A"])
    assert waits == [3]
    for odd in ("soon", "-1", "²", "Wed, 21 Oct 2026 07:28:00 GMT"):
        rest.statuses, rest.retry_after = [503], odd
        assert await client.contracts(["A"])
        assert 0 <= waits.pop() < 1
    # The caller does not wait for a minute.
    rest.statuses, rest.retry_after = [429], "60"
    with pytest.raises(ime_live.ServiceError):
        await client.contracts(["A"])
    assert waits == [3]


@pytest.mark.parametrize("status", [302, 400, 404, 422, 500])
async def test_other_status_is_an_error_at_once(rest: Rest, status: int) -> None:
    rest.statuses = [status]
    with pytest.raises(ime_live.ServiceError, match="so it is") as caught:
        await AsyncClient(rest.url).contracts(["A"])
    assert caught.value.status == status
    assert len(rest.requested) == 1


@each_row("arguments", [{"tries": 0}, {"read_timeout": 0}, {"connect_timeout": -1}, {"token": ""}])
def test_malformed_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ime_live.SettingsError):
        AsyncClient("http://h", **arguments)


async def test_404_of_a_call_names_the_url_and_asks_for_the_prefix(rest: Rest) -> None:
    rest.statuses = [404]
    async with AsyncClient(f"{rest.url}/p") as client:
        with pytest.raises(ime_live.ServiceError) as caught:
            await client.contracts(["A"])
    assert str(caught.value) == (
        f"{rest.url}/p/static/data/contract/name must be a REST call, but is not: so it is; "
        "is the path of a proxy missing from the address, or wrong? "
        "A service of an older version may not have this call."
    )


async def test_redirect_of_a_call_is_an_error_with_its_target(rest: Rest) -> None:
    rest.statuses = [302]
    async with AsyncClient(rest.url) as client:
        with pytest.raises(ime_live.ServiceError, match="redirects to http") as caught:
            await client.contracts(["A"])
    assert str(caught.value).endswith("; write that address")


@pytest.mark.parametrize("detail", ["token expired", "token not yet valid: nbf is ahead"])
async def test_temporarily_refused_token_is_retried(
    rest: Rest, waits: list[float], detail: str
) -> None:
    rest.statuses, rest.detail = [401, 401, 401], detail
    async with AsyncClient(rest.url, token="t", tries=3) as client:
        assert await client.contracts(["A"])
        assert len(rest.requested) == 4
        assert len(waits) == 2  # the first time, a new token is requested at once
        rest.statuses = [401] * 9
        with pytest.raises(ime_live.AuthenticationError, match=detail):
            await client.contracts(["A"])
        assert len(rest.requested) == 8


async def test_token_is_renewed_even_with_one_try(rest: Rest) -> None:
    tokens = iter(["old", "new"])
    rest.statuses = [401]
    async with AsyncClient(rest.url, token=lambda: next(tokens), tries=1) as client:
        assert await client.contracts(["A"])
