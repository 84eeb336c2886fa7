"""Credentials: what is shown, and when a program's function is asked for a token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ime_live.client.network.credentials import Credentials
from ime_live.errors import SettingsError
from tests.support.clock import FakeClock


class Source:
    """A function that gives t1, t2 and so on, and takes its time."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self) -> str:
        """The next token."""
        self.requests += 1
        token = f"t{self.requests}"
        await asyncio.sleep(0)
        return token


def showing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_given_token_is_used_as_it_is_and_not_renewed() -> None:
    assert await Credentials(None).headers() == {}
    assert await Credentials("Bearer abc").headers() == showing("abc")
    plain = Credentials(" abc ")
    assert await plain.headers() == showing("abc")
    assert not plain.note_refused()
    assert not plain.note_refused(showing("another"))
    assert "abc" not in repr(plain)


async def test_concurrent_calls_fetch_one_token() -> None:
    source = Source()
    credentials = Credentials(source)
    found = await asyncio.gather(*(credentials.headers() for _ in range(5)))
    assert found == [showing("t1")] * 5
    assert source.requests == 1


async def test_calls_refused_together_retry_with_one_new_token() -> None:
    source = Source()
    credentials = Credentials(source)
    old = await credentials.headers()
    credentials.note_accepted(old)
    assert credentials.note_refused(old)
    assert credentials.note_refused(old)  # while nobody has asked yet
    new = list(await asyncio.gather(credentials.headers(), credentials.headers()))
    assert new == [showing("t2")] * 2
    assert credentials.note_refused(old)  # and when there is a new one
    assert await credentials.headers() == showing("t2")
    assert source.requests == 2


async def test_refusal_of_an_old_token_does_not_count_for_the_new_one() -> None:
    credentials = Credentials(Source())
    old = await credentials.headers()
    assert credentials.note_refused(old)
    new = await credentials.headers()
    credentials.note_accepted(old)  # an answer that took its time
    assert not credentials.note_refused(new)


@pytest.mark.parametrize(
    "shown", [lambda headers: headers, lambda _: None], ids=["same headers", "no headers"]
)
async def test_refused_new_token_is_an_error(
    shown: Callable[[dict[str, str]], dict[str, str] | None],
) -> None:
    source = Source()
    credentials = Credentials(source)
    assert credentials.note_refused(shown(await credentials.headers()))
    assert not credentials.note_refused(shown(await credentials.headers()))
    # A later call is tried with a newer token.
    assert await credentials.headers() == showing("t3")
    credentials.note_accepted()
    assert credentials.note_refused(shown(await credentials.headers()))


def test_credentials_work_in_one_event_loop_after_another() -> None:
    credentials = Credentials(Source())

    async def several() -> list[dict[str, str]]:
        credentials.note_refused()
        return await asyncio.gather(*(credentials.headers() for _ in range(3)))

    assert asyncio.run(several()) == [showing("t1")] * 3
    assert asyncio.run(several()) == [showing("t2")] * 3


async def test_failing_token_function_fails_each_call_and_is_called_again() -> None:
    answers = iter(["", "good"])
    credentials = Credentials(lambda: next(answers))
    first, second = await asyncio.gather(
        credentials.headers(), credentials.headers(), return_exceptions=True
    )
    assert isinstance(first, SettingsError)
    assert second == showing("good")


# -- temporary refusals: clocks differ, and caches of tokens are behind --------------------------

PASSING = ["token expired", "token not yet valid", "token expired: exp was 2026-05-23T15:10:00Z"]


@pytest.mark.parametrize("reason", PASSING)
@pytest.mark.parametrize("token", ["t", lambda: "t"])
async def test_temporary_token_refusal_is_retried_for_some_time(
    reason: str, token: str | Callable[[], str]
) -> None:
    clock = FakeClock()
    credentials = Credentials(token, clock=clock)
    for _ in range(5):
        assert credentials.note_refused(await credentials.headers(), reason)
        clock.now += 1.0
    assert not credentials.note_refused(await credentials.headers(), reason)


async def test_temporary_token_refusal_is_retried_a_limited_number_of_times() -> None:
    credentials = Credentials("t", clock=FakeClock())
    tries = [credentials.note_refused(await credentials.headers(), PASSING[0]) for _ in range(20)]
    assert tries == [True] * 19 + [False]


@pytest.mark.parametrize("token", ["t", lambda: "t"])
async def test_accepted_token_resets_the_retries(token: str | Callable[[], str]) -> None:
    clock = FakeClock()
    credentials = Credentials(token, clock=clock)
    for _ in range(10):
        headers = await credentials.headers()
        assert credentials.note_refused(headers, "token expired")
        clock.now += 4.0
        credentials.note_accepted(await credentials.headers())


async def test_token_function_is_called_each_time_the_token_expired() -> None:
    source = Source()
    credentials = Credentials(source, clock=FakeClock())
    for number in range(1, 5):
        headers = await credentials.headers()
        assert headers == showing(f"t{number}")
        assert credentials.note_refused(headers, "token expired")


async def test_bad_token_after_an_expired_one_is_renewed_once() -> None:
    credentials = Credentials(Source(), clock=FakeClock())
    assert credentials.note_refused(await credentials.headers(), "token expired")
    assert credentials.note_refused(await credentials.headers(), "invalid token")
    assert credentials.note_refused(await credentials.headers(), "token not yet valid")
    assert not credentials.note_refused(await credentials.headers(), "invalid token")


@pytest.mark.parametrize("given", [None, b"abc", 5, ["abc"]])
async def test_token_function_must_return_a_text(given: object) -> None:
    async def later() -> object:
        return given

    for source in (lambda: given, later):
        with pytest.raises(SettingsError, match=f"must be a text, got {type(given).__name__}"):
            await Credentials(source).headers()  # type: ignore[arg-type] # it is wrong


async def test_token_is_fetched_once_and_again_after_a_refusal() -> None:
    made = iter("abcd")
    credentials = Credentials(lambda: next(made))
    assert await credentials.headers() == {"Authorization": "Bearer a"}
    assert await credentials.headers() == {"Authorization": "Bearer a"}
    assert credentials.note_refused()
    assert await credentials.headers() == {"Authorization": "Bearer b"}
    assert not credentials.note_refused()  # the new token is refused as well
    credentials.note_accepted()
    assert credentials.note_refused()


async def test_token_function_may_be_async_and_return_either_form() -> None:
    async def fetch() -> str:
        return "bearer x"

    assert await Credentials(fetch).headers() == {"Authorization": "bearer x"}
    assert await Credentials(None).headers() == {}
    assert not Credentials("x").note_refused()
