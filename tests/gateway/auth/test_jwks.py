"""Key sets: what is taken from one, and how the one at a URL is kept fresh.

The URL is that of a real HTTP server on 127.0.0.1; only the clock is not real.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ime_live.errors import AuthenticationError, CloseCode, RefusedError, SettingsError
from ime_live.gateway.auth.authenticator import JwtAuthenticator
from ime_live.gateway.auth.jwks import (
    MAX_AGE,
    MAX_SET_BYTES,
    MIN_INTERVAL,
    RECHECK_INTERVAL,
    RETRY_INTERVAL,
    JwksUrl,
    read_key_set,
)
from ime_live.gateway.auth.keys import Keyring
from ime_live.gateway.auth.signed_token import Key
from tests.support.clock import FakeClock
from tests.support.rows import each_row
from tests.support.token_keys import EC_KEY, ED_KEY, RSA_KEY

Jwk = dict[str, object]

OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(algorithm: str, key: object, **more: object) -> Jwk:
    made: Jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return made | more


RSA_JWK = jwk("RS256", RSA_KEY.public_key(), kid="rsa", use="sig", alg="RS256")
EC_JWK = jwk("ES256", EC_KEY.public_key(), kid="ec")
ED_JWK = jwk("EdDSA", ED_KEY.public_key(), kid="ed")
SECRET = b"a secret of the tests, 32 bytes and more"
SECRET_JWK = jwk("HS256", SECRET, kid="oct")


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def kids(url: JwksUrl) -> list[str | None]:
    return [key.kid for key in url.keys]


class TestReadKeySet:
    def test_key_set_has_keys_of_every_type(self) -> None:
        keys = read_key_set(key_set(RSA_JWK, EC_JWK, ED_JWK, SECRET_JWK), secrets=True)

        assert [(key.algorithm, key.kid) for key in keys] == [
            ("RS256", "rsa"),
            ("ES256", "ec"),
            ("EdDSA", "ed"),
            ("HS256", "oct"),
        ]

    def test_key_without_kid_is_read(self) -> None:
        (key,) = read_key_set(key_set(jwk("ES256", EC_KEY.public_key())), secrets=False)

        assert key.kid is None

    @each_row(
        "bad",
        [
            SECRET_JWK,
            RSA_JWK | {"use": "enc"},
            RSA_JWK | {"key_ops": ["encrypt"]},
            RSA_JWK | {"key_ops": None},
            RSA_JWK | {"alg": "RS512"},
            RSA_JWK | {"alg": "PS256"},
            RSA_JWK | {"alg": "HS256"},
            RSA_JWK | {"kty": "oct", "alg": "HS256"},
            RSA_JWK | {"kty": ["RSA"]},
            RSA_JWK | {"kid": 1},
            RSA_JWK | {"n": None},
            RSA_JWK | {"n": "AQAB"},
            RSA_JWK | {"e": "AQ"},
            jwk("RS256", RSA_KEY, key_ops=["verify"]),
            jwk("RS256", rsa.generate_private_key(65537, key_size=1024).public_key()),  # noqa: S505
            EC_JWK | {"x": "AAAA"},
            EC_JWK | {"x": EC_JWK["y"]},
            EC_JWK | {"crv": "P-384"},
            jwk("ES384", ec.generate_private_key(ec.SECP384R1()).public_key()),
            jwk("ES256", EC_KEY),
            ED_JWK | {"crv": "X25519"},
            jwk("EdDSA", ed448.Ed448PrivateKey.generate().public_key()),
            jwk("EdDSA", ED_KEY),
            {"kty": "OKP"},
            {},
            None,
            "key",
            [],
        ],
    )
    def test_unusable_key_is_skipped_and_logged(self, bad: object) -> None:
        with capture_logs() as logs:
            (key,) = read_key_set(key_set(bad, ED_JWK), secrets=False)

        assert key.kid == "ed"
        (line,) = logs
        assert (line["event"], line["position"]) == ("jwks key skipped", 0)
        if isinstance(bad, dict):
            long = [v for v in bad.values() if isinstance(v, str) and len(v) > 10]
            assert not any(value in str(line) for value in long)

    def test_short_secret_is_skipped(self) -> None:
        with capture_logs(), pytest.raises(ValueError, match="must have a key that can be used"):
            read_key_set(key_set({"kty": "oct", "k": "c2hvcnQ"}), secrets=True)

    @each_row(
        "raw",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"keys": null}',
            b'{"keys": {}}',
            b"\xff",
            b'{"keys": [' + b"[" * 100_000,
            key_set(),
        ],
    )
    def test_malformed_key_set_is_refused(self, raw: bytes) -> None:
        with pytest.raises(ValueError, match="JWK Set"):
            read_key_set(raw, secrets=True)

    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from([*RSA_JWK, *EC_JWK, "k", "d", "key_ops"]),
                st.none()
                | st.integers()
                | st.text()
                | st.lists(st.text())
                | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "AQAB"]),
            )
        )
    )
    @settings(deadline=None)
    def test_any_key_set_is_read_or_refused(self, entries: list[Jwk]) -> None:
        with capture_logs():
            keys = read_key_set(key_set(*entries, ED_JWK), secrets=True)

        assert keys[-1].kid == "ed"


class AlarmClock(FakeClock):
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self._alarms: list[tuple[float, asyncio.Event]] = []
        self._asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        alarm = asyncio.Event()
        self._alarms.append((self.now + seconds, alarm))
        self._asleep.set()
        await alarm.wait()

    async def go_on(self, seconds: float) -> None:
        """Let time pass, and what it wakes do its work until it sleeps again."""
        await self._asleep.wait()
        self.now += seconds
        due = [entry for entry in self._alarms if entry[0] <= self.now]
        if due:
            self._alarms = [entry for entry in self._alarms if entry not in due]
            self._asleep.clear()
            for _, alarm in due:
                alarm.set()
            await self._asleep.wait()


class Issuer:
    """An HTTP server with a key set; counts the requests, and misbehaves if asked to."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.misbehave: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
        self.url = ""
        self._server: asyncio.Server | None = None
        self._port = 0
        self.answer(key_set(RSA_JWK))

    def answer(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
        self._answer = "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/jwks.json"

    async def down(self) -> None:
        self.gate.set()
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request.decode())
            self.arrived.set()
            await self.gate.wait()
            if self.misbehave is not None:
                await self.misbehave(writer)
            else:
                writer.write(self._answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has had enough
        finally:
            writer.close()


@pytest.fixture
def clock() -> AlarmClock:
    return AlarmClock()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    await issuer.up()
    yield issuer
    await issuer.down()


@asynccontextmanager
async def started(
    issuer: Issuer, clock: AlarmClock, fetch_timeout: float = 30
) -> AsyncIterator[JwksUrl]:
    url = JwksUrl(issuer.url, clock=clock, fetch_timeout=fetch_timeout)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(url.aclose)
        await url.start()
        yield url


async def unavailable(awaitable: Awaitable[object]) -> None:
    with pytest.raises(RefusedError) as caught:
        await awaitable
    assert caught.value.code is CloseCode.TRY_AGAIN_LATER
    assert caught.value.reason == caught.value.kind == "keys are not available"


class TestJwksUrl:
    @each_row(
        "url",
        [
            "http://issuer.example/jwks.json",
            "http://192.0.2.1/jwks.json",
            "http://localhost.example/jwks.json",
            "ftp://issuer.example/jwks.json",
            "file:///etc/passwd",
            "https:///jwks.json",
            "https://user:password@issuer.example/jwks.json",
            "https://user@issuer.example/jwks.json",
            "https://issuer.example:port/",
            "https://[::1/",
            "https://",
            "://",
        ],
    )
    def test_jwks_url_without_tls_is_refused(self, url: str) -> None:
        with pytest.raises(SettingsError, match="--jwks") as caught:
            JwksUrl(url)
        assert "password@" not in str(caught.value)

    @each_row(
        "url",
        [
            "https://issuer.example/.well-known/jwks.json?x=1",
            "HTTPS://issuer.example:8443/",
            "http://127.0.0.1:1/",
            "http://localhost/jwks",
            "http://[::1]:8080/",
        ],
    )
    def test_jwks_url_with_tls_or_loopback_is_accepted(self, url: str) -> None:
        assert JwksUrl(url).keys == ()


class TestJwksCache:
    async def test_jwks_is_fetched_at_start(self, issuer: Issuer, clock: AlarmClock) -> None:
        async with started(issuer, clock) as url:
            assert kids(url) == ["rsa"]
        assert len(issuer.requests) == 1

    async def test_expired_jwks_is_fetched_again(self, issuer: Issuer, clock: AlarmClock) -> None:
        async with started(issuer, clock) as url:
            issuer.answer(key_set(EC_JWK))

            await clock.go_on(MAX_AGE - 1)
            assert kids(url) == ["rsa"]

            await clock.go_on(1)
            assert kids(url) == ["ec"]
            assert len(issuer.requests) == 2

    async def test_refresh_fetches_the_jwks(self, issuer: Issuer, clock: AlarmClock) -> None:
        async with started(issuer, clock) as url:
            issuer.answer(key_set(RSA_JWK, EC_JWK))
            await clock.go_on(MIN_INTERVAL)

            await url.refresh()

            assert kids(url) == ["rsa", "ec"]

    async def test_refreshes_are_rate_limited(self, issuer: Issuer, clock: AlarmClock) -> None:
        async with started(issuer, clock) as url:
            for _ in range(100):
                await url.refresh()
            await clock.go_on(MIN_INTERVAL - 0.1)
            await url.refresh()
            assert len(issuer.requests) == 1

            await clock.go_on(0.1)
            for _ in range(100):
                await url.refresh()
            assert len(issuer.requests) == 2

    async def test_age_of_the_jwks_counts_from_the_last_fetch(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            await clock.go_on(MAX_AGE - 1)
            await url.refresh()
            await clock.go_on(1)
            assert len(issuer.requests) == 2

            await clock.go_on(MAX_AGE - 1)
            assert len(issuer.requests) == 3

    async def test_concurrent_refreshes_share_one_fetch(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            await clock.go_on(MIN_INTERVAL)
            issuer.answer(key_set(EC_JWK))
            issuer.gate.clear()
            issuer.arrived.clear()
            waiting = [asyncio.create_task(url.refresh()) for _ in range(20)]
            await issuer.arrived.wait()
            assert not any(task.done() for task in waiting)

            issuer.gate.set()
            await asyncio.gather(*waiting)

            assert kids(url) == ["ec"]
            assert len(issuer.requests) == 2

    async def test_cancelled_refresh_does_not_end_the_fetch(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            await clock.go_on(MIN_INTERVAL)
            issuer.answer(key_set(EC_JWK))
            issuer.gate.clear()
            issuer.arrived.clear()
            leaves, stays = (asyncio.create_task(url.refresh()) for _ in range(2))
            await issuer.arrived.wait()

            leaves.cancel()
            await asyncio.wait([leaves])
            assert leaves.cancelled()
            issuer.gate.set()
            await stays

            assert kids(url) == ["ec"]

    async def test_closing_refuses_waiting_refreshes(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            await clock.go_on(MIN_INTERVAL)
            issuer.gate.clear()
            issuer.arrived.clear()
            waiting = asyncio.create_task(url.refresh())
            await issuer.arrived.wait()

            await url.aclose()

            await unavailable(waiting)
            await unavailable(url.refresh())
            assert kids(url) == ["rsa"]

    async def test_closing_before_the_start_is_allowed(self) -> None:
        await JwksUrl("https://issuer.example/").aclose()


class TestIssuerOutage:
    async def test_issuer_outage_keeps_the_known_keys(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            await issuer.down()
            with capture_logs() as logs:
                await clock.go_on(MAX_AGE)
                await clock.go_on(RETRY_INTERVAL)

            assert [(line["event"], line["failures"]) for line in logs] == [
                ("jwks refresh failed", 1),
                ("jwks refresh failed", 2),
            ]
            assert kids(url) == ["rsa"]
            await unavailable(url.refresh())

            issuer.answer(key_set(EC_JWK))
            await issuer.up()
            await clock.go_on(RETRY_INTERVAL)
            assert kids(url) == ["ec"]

    async def test_issuer_outage_at_start_leaves_no_key(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        await issuer.down()
        async with started(issuer, clock) as url:
            assert url.keys == ()
            await unavailable(url.refresh())

            await issuer.up()
            await unavailable(url.refresh())
            assert issuer.requests == []

            await clock.go_on(MIN_INTERVAL)
            await url.refresh()
            assert kids(url) == ["rsa"]

    async def test_failed_fetch_is_retried_without_a_refresh(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        await issuer.down()
        async with started(issuer, clock) as url:
            await issuer.up()
            await clock.go_on(RETRY_INTERVAL)

            assert kids(url) == ["rsa"]

    async def test_failed_refresh_is_retried(self, issuer: Issuer, clock: AlarmClock) -> None:
        async with started(issuer, clock) as url:
            await issuer.down()
            await clock.go_on(MIN_INTERVAL)
            await unavailable(url.refresh())

            issuer.answer(key_set(EC_JWK))
            await issuer.up()
            await clock.go_on(RETRY_INTERVAL - MIN_INTERVAL)
            await clock.go_on(RETRY_INTERVAL)
            assert kids(url) == ["ec"]

    @pytest.mark.parametrize(
        ("body", "status", "headers"),
        [
            (b"<!doctype html><title>Sign in</title>", "200 OK", ["Content-Type: text/html"]),
            (b"", "200 OK", []),
            (key_set(), "200 OK", []),
            (key_set(SECRET_JWK), "200 OK", []),
            (key_set(EC_JWK), "404 Not Found", []),
            (key_set(EC_JWK), "500 Internal Server Error", []),
            (b"", "204 No Content", []),
            (key_set(EC_JWK) + b" " * MAX_SET_BYTES, "200 OK", []),
            (gzip.compress(key_set(EC_JWK)), "200 OK", ["Content-Encoding: gzip"]),
            (key_set(EC_JWK), "200 OK\r\nbroken", []),
        ],
    )
    async def test_malformed_answer_keeps_the_known_keys(
        self, issuer: Issuer, clock: AlarmClock, body: bytes, status: str, headers: list[str]
    ) -> None:
        async with started(issuer, clock) as url:
            issuer.answer(body, status, *headers)
            await clock.go_on(MIN_INTERVAL)

            with capture_logs() as logs:
                await unavailable(url.refresh())

            assert kids(url) == ["rsa"]
            assert logs[-1]["event"] == "jwks refresh failed"
            assert logs[-1]["error"]
            assert len(issuer.requests) == 2

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Moved", "308 Moved"])
    @pytest.mark.parametrize("target", ["/elsewhere", "http://127.0.0.1:1/", "file:///etc/passwd"])
    async def test_redirect_of_the_issuer_is_not_followed(
        self, issuer: Issuer, clock: AlarmClock, status: str, target: str
    ) -> None:
        issuer.answer(b"", status, f"Location: {target}")
        async with started(issuer, clock) as url:
            assert url.keys == ()
        assert len(issuer.requests) == 1

    async def test_endless_answer_of_the_issuer_is_cut_off(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async def endless(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b" " * 65_536)
                await writer.drain()

        issuer.misbehave = endless
        with capture_logs() as logs:
            async with started(issuer, clock) as url:
                assert url.keys == ()
        assert "must have at most" in logs[0]["error"]

    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n{"])
    async def test_silent_issuer_times_out(
        self, issuer: Issuer, clock: AlarmClock, begun: bytes
    ) -> None:
        never = asyncio.Event()

        async def silent(writer: asyncio.StreamWriter) -> None:
            writer.write(begun)
            await writer.drain()
            await never.wait()

        issuer.misbehave = silent
        with capture_logs() as logs:
            async with started(issuer, clock, fetch_timeout=0.05) as url:
                assert url.keys == ()
        never.set()
        assert "Timeout" in logs[0]["error"]

    async def test_slow_issuer_times_out(self, issuer: Issuer, clock: AlarmClock) -> None:
        """Each byte comes in time, and all of them never would."""

        async def dripping(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

        issuer.misbehave = dripping
        with capture_logs() as logs:
            async with started(issuer, clock, fetch_timeout=0.2) as url:
                assert url.keys == ()
        assert "Timeout" in logs[0]["error"]


class TestTokens:
    """With a JWKS URL behind an authenticator: what clients get."""

    RSA_TOKEN = jwt.encode({}, RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})
    EC_TOKEN = jwt.encode({}, EC_KEY, algorithm="ES256", headers={"kid": "ec"})

    async def test_key_rotation_accepts_tokens_of_the_new_key(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            assert await authenticator.authenticate(self.RSA_TOKEN)
            issuer.answer(key_set(EC_JWK))
            await clock.go_on(MIN_INTERVAL)

            assert await authenticator.authenticate(self.EC_TOKEN)
            with pytest.raises(AuthenticationError, match="invalid token"):
                await authenticator.authenticate(self.RSA_TOKEN)

    @pytest.mark.parametrize("kid", ["rsa", None])
    async def test_key_rotation_under_the_same_kid(
        self, issuer: Issuer, clock: AlarmClock, kid: str | None
    ) -> None:
        issuer.answer(key_set(jwk("RS256", OTHER_RSA_KEY.public_key(), kid=kid)))
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            issuer.answer(key_set(jwk("RS256", RSA_KEY.public_key(), kid=kid)))
            headers = None if kid is None else {"kid": kid}
            token = jwt.encode({}, RSA_KEY, algorithm="RS256", headers=headers)

            assert await authenticator.authenticate(token)
        assert len(issuer.requests) == 2

    async def test_algorithm_change_under_the_same_kid(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            issuer.answer(key_set(EC_JWK | {"kid": "rsa"}))
            token = jwt.encode({}, EC_KEY, algorithm="ES256", headers={"kid": "rsa"})

            assert await authenticator.authenticate(token)

    async def test_bad_signatures_cause_rate_limited_fetches(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        forged = jwt.encode({}, OTHER_RSA_KEY, algorithm="RS256", headers={"kid": "rsa"})
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))

            async def refused() -> None:
                with pytest.raises(AuthenticationError, match="invalid token"):
                    await authenticator.authenticate(forged)

            await asyncio.gather(*(refused() for _ in range(50)))
            for _ in range(50):
                await refused()
            assert len(issuer.requests) == 2
            await clock.go_on(RECHECK_INTERVAL - 1)
            await refused()
            assert len(issuer.requests) == 2
            await clock.go_on(1)
            for _ in range(50):
                await refused()
            assert len(issuer.requests) == 3
            # A client with a valid token does not wait meanwhile.
            assert await authenticator.authenticate(self.RSA_TOKEN)
            assert len(issuer.requests) == 3

    async def test_bad_signature_during_an_issuer_outage_is_a_temporary_refusal(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        issuer.answer(key_set(jwk("RS256", OTHER_RSA_KEY.public_key(), kid="rsa")))
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            await issuer.down()
            # The key may have been changed: who comes again later may be let in.
            for _ in range(3):
                await unavailable(authenticator.authenticate(self.RSA_TOKEN))
            issuer.answer(key_set(RSA_JWK))
            await issuer.up()
            await clock.go_on(RETRY_INTERVAL)
            assert await authenticator.authenticate(self.RSA_TOKEN)

    async def test_hmac_token_causes_no_fetch(self, issuer: Issuer, clock: AlarmClock) -> None:
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            token = jwt.encode({}, "a secret of the tests, 32 bytes and more")
            with pytest.raises(AuthenticationError, match="invalid token"):
                await authenticator.authenticate(token)
        assert len(issuer.requests) == 1

    async def test_invented_kids_cause_rate_limited_fetches(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            await clock.go_on(MIN_INTERVAL)
            for number in range(100):
                token = jwt.encode({}, EC_KEY, algorithm="ES256", headers={"kid": f"x{number}"})
                with pytest.raises(AuthenticationError, match="invalid token"):
                    await authenticator.authenticate(token)
        assert len(issuer.requests) == 2

    async def test_issuer_outage_keeps_the_known_keys(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            await issuer.down()
            await clock.go_on(MAX_AGE)

            assert await authenticator.authenticate(self.RSA_TOKEN)
            # It may be good: who comes again later may be let in.
            await unavailable(authenticator.authenticate(self.EC_TOKEN))

    async def test_issuer_outage_at_start_leaves_no_key(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        await issuer.down()
        async with started(issuer, clock) as url:
            authenticator = JwtAuthenticator(Keyring(url=url))
            await unavailable(authenticator.authenticate(self.RSA_TOKEN))
            # No key of any set will make these good.
            for token in ("x", jwt.encode({}, "a secret of the tests, 32 bytes and more")):
                with pytest.raises(AuthenticationError, match="invalid token"):
                    await authenticator.authenticate(token)

            await issuer.up()
            await clock.go_on(MIN_INTERVAL)
            assert await authenticator.authenticate(self.RSA_TOKEN)

    async def test_log_lines_hide_tokens(self, issuer: Issuer, clock: AlarmClock) -> None:
        with capture_logs() as logs:
            async with started(issuer, clock) as url:
                authenticator = JwtAuthenticator(Keyring(url=url))
                await issuer.down()
                await clock.go_on(MIN_INTERVAL)
                await unavailable(authenticator.authenticate(self.EC_TOKEN))
        assert logs
        assert not any(part in str(logs) for part in self.EC_TOKEN.split("."))


class TestAdopt:
    """A keyring that gets other sources of keys while it is used."""

    async def test_adopted_url_that_is_the_same_keeps_its_keys(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        async with started(issuer, clock) as url:
            keyring = Keyring(url=url)
            await keyring.adopt(Keyring([Key(SECRET)], url=JwksUrl(url.url, clock=clock)))
            assert [key.kid for key in keyring.keys] == [None, "rsa"]
            await keyring.adopt(Keyring([Key(SECRET)]))
            assert [key.kid for key in keyring.keys] == [None]
        assert len(issuer.requests) == 1

    async def test_adopted_new_url_is_fetched(self, issuer: Issuer, clock: AlarmClock) -> None:
        authenticator = JwtAuthenticator(Keyring([Key(SECRET)]))
        other = JwtAuthenticator(Keyring(url=JwksUrl(issuer.url, clock=clock)))
        await authenticator.adopt(other)
        assert await authenticator.authenticate(TestTokens.RSA_TOKEN)
        with pytest.raises(AuthenticationError):
            await authenticator.authenticate(jwt.encode({}, SECRET))
        await authenticator.aclose()

    async def test_adopted_url_without_keys_changes_nothing(
        self, issuer: Issuer, clock: AlarmClock
    ) -> None:
        issuer.answer(b"no keys")
        keyring = Keyring([Key(SECRET)])
        with pytest.raises(SettingsError, match="no keys can be fetched"):
            await keyring.adopt(Keyring(url=JwksUrl(issuer.url, clock=clock)))
        assert len(keyring.keys) == 1

    async def test_adopted_rules_count_for_a_token_that_was_verified_before(self) -> None:
        token = jwt.encode({"aud": "one"}, SECRET)
        key = Key(SECRET)
        authenticator = JwtAuthenticator(Keyring([key]), audience="one")
        assert await authenticator.authenticate(token)
        await authenticator.adopt(JwtAuthenticator(Keyring([key]), audience="two"))
        with pytest.raises(AuthenticationError):
            await authenticator.authenticate(token)
