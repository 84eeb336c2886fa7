"""Tokens that are revoked while clients stream, on every gateway, and usage per subject."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest

from ime_live.gateway.auth.tokens import create_token
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.revocation import Revocation, RevokedBy
from ime_live.store.revocation_store import RevocationStore
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.gateways import PATIENCE, Gateway, closed

NOT_LOADED = "revocations are not loaded yet"
REFUSED = (1008, "invalid token")


@pytest.fixture(scope="module")
def second(_serve_all: Serve) -> Gateway:
    """Another gateway on the same store."""
    return _serve_all(auth="jwt", variables={"IME_LIVE_JWT_SECRET": SECRET})


def token_of(subject: str, age: float = 2.0) -> str:
    return create_token(SECRET, subject, 1, now=time.time() - age)


def claim(token: str, name: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})[name])


async def revoke(url: str, by: RevokedBy, name: str, keep: float = 60.0) -> None:
    now = int(time.time())
    async with RevocationStore(StoreSettings(redis_url=url)) as store:
        await store.revoke([Revocation(by, name, now, int(now + keep))])


async def refusal(gateway: Gateway, contract_id: str, token: str) -> tuple[int, str]:
    async with gateway.by_id(contract_id, token=token) as client:
        close = await closed(client)
        return close.code, close.reason


async def test_revoked_subject_is_ended_on_all_gateways_and_others_stay(
    backend: EmbeddedValkey, guarded: Gateway, second: Gateway, market: Market
) -> None:
    contract = market.one().contract_id
    alice, bob = token_of("revoked-alice"), token_of("spared-bob")
    async with (
        guarded.by_id(contract, token=alice) as first,
        second.by_id(contract, token=alice) as other,
        guarded.by_id(contract, token=bob) as spared,
    ):
        await revoke(backend.url, RevokedBy.SUBJECT, "revoked-alice")
        async with asyncio.timeout(1.0):
            ends = [await closed(each) for each in (first, other)]
        assert {(each.code, each.reason) for each in ends} == {REFUSED}
        assert await refusal(guarded, contract, alice) == REFUSED  # although it was remembered
        path = f"/static/data/contract/id?contract_ids={contract}"
        answer = guarded.request("GET", path, {"Authorization": alice})
        detail = "invalid token; its subject was revoked after it was issued"
        assert (answer.status, answer.json()) == (401, {"detail": detail})
        await spared.ping()
        later = token_of("revoked-alice", age=-2.0)
        async with guarded.by_id(contract, token=later) as again:
            await again.ping()
    assert guarded.metric("connections_closed_total", reason="token revoked") >= 1


async def test_revoked_token_is_refused_and_another_of_its_subject_is_not(
    backend: EmbeddedValkey, guarded: Gateway, market: Market
) -> None:
    contract = market.one().contract_id
    lost, kept = token_of("carol"), token_of("carol")
    async with guarded.by_id(contract, token=lost) as first:
        command = [sys.executable, "-m", "ime_live", "token", "revoke", "-"]
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, "--redis-url", backend.url],
            input=f"Bearer {lost}\n",
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"revoked jti {claim(lost, 'jti')}, kept until" in done.stdout + done.stderr
        assert lost not in done.stdout + done.stderr
        close = await closed(first)
        assert (close.code, close.reason) == REFUSED
    async with guarded.by_id(contract, token=kept) as client:
        await client.ping()


async def test_revocation_survives_a_store_that_has_lost_it(serve: Serve) -> None:
    with EmbeddedValkey() as valkey:
        gateway = serve(valkey.url, auth="jwt", variables={"IME_LIVE_JWT_SECRET": SECRET})
        token = token_of("dave")
        async with RevocationStore(StoreSettings(redis_url=valkey.url)) as store:
            await revoke(valkey.url, RevokedBy.SUBJECT, "dave")
            await gateway.logged("revocations loaded")
            await store._redis.run([("FLUSHALL",)])
            await revoke(valkey.url, RevokedBy.SUBJECT, "erin")
            async with asyncio.timeout(PATIENCE):
                while len(await store.read()) < 2:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.02)
        path = "/live/status"
        assert gateway.request("GET", path, {"Authorization": token}).status == 401


async def test_unreadable_revocations_are_not_missing_ones(serve: Serve) -> None:
    with EmbeddedValkey() as valkey:
        async with RevocationStore(StoreSettings(redis_url=valkey.url)) as store:
            await store._redis.run([("SET", "ime:revoked", "no hash")])
            settings = {"auth": "jwt", "variables": {"IME_LIVE_JWT_SECRET": SECRET}}
            gateway = serve(valkey.url, ready=False, **settings).when_listening()
            header = {"Authorization": token_of("frank")}
            await gateway.logged("revocations cannot be read")
            await gateway.logged("contracts loaded")
            assert gateway.get("/ready").json()["reason"] == NOT_LOADED
            assert gateway.request("GET", "/live/status", header).status == 503
            close = await refusal(gateway, "1", header["Authorization"])
            assert close == (1013, NOT_LOADED)
            await store._redis.run([("DEL", "ime:revoked")])
            gateway.when_ready()
            assert gateway.request("GET", "/live/status", header).status == 200


async def test_usage_is_logged_per_subject_when_the_gateway_ends(
    serve: Serve, market: Market
) -> None:
    gateway = serve(auth="jwt", variables={"IME_LIVE_JWT_SECRET": SECRET})
    contract = market.one().contract_id
    for _ in range(2):
        async with gateway.by_id(contract, token=token_of("grace")) as client:
            await client.ping()
    async with gateway.by_id(contract, token=token_of("heidi")) as client:
        await client.ping()
        gateway.signal(15)
        await closed(client)
        await gateway.ended()
    lines = {each["subject"]: each for each in gateway.events("usage")}
    assert {name: each["connections"] for name, each in lines.items()} == {"grace": 2, "heidi": 1}
    assert all(each["bytes"] is None or each["bytes"] > 100 for each in lines.values())


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text(f"{SECRET}\n")
    return file


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def test_secret_is_rotated_without_a_restart(serve: Serve, keys: Path) -> None:
    gateway = serve(auth="jwt", jwt_secret_file=keys)
    new = "another secret of the tests, long enough for HS256"

    def accepts(secret: str) -> bool:
        token = create_token(secret, "ivan", 1, now=time.time())
        return gateway.request("GET", "/live/status", {"Authorization": token}).status == 200

    assert accepts(SECRET)
    write(keys, f"# the new one first\n{new}\n{SECRET}\n")
    await gateway.logged("keys reloaded")
    assert accepts(new)
    assert accepts(SECRET)
    write(keys, "too short\n")
    [line] = await gateway.logged("keys cannot be read; keeping the known keys")
    assert "too short" not in json.dumps(line)
    assert accepts(SECRET)
    write(keys, f"{new}\n")
    await gateway.logged("keys reloaded", 2)
    assert not accepts(SECRET)
    assert accepts(new)
