"""SIGHUP: a gateway reads its settings again, and its streams stay open."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ime_live.gateway.auth.tokens import create_token
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.gateways import PATIENCE, Gateway
from tests.support.marks import thorough

NEW_SECRET = "another secret of the tests, long enough for HS256"


class Reloaded:
    """A gateway whose settings are in a file."""

    def __init__(self, serve: Serve, folder: Path, *, workers: int = 1) -> None:
        self.file = folder / "ime-live.env"
        self._reloads = 0
        self.write(JWT_SECRET=SECRET)
        self.gateway: Gateway = serve(auth="jwt", workers=workers, env_file=self.file)

    def write(self, **variables: object) -> None:
        """Write the file."""
        lines = [f"IME_LIVE_{name}={value}\n" for name, value in variables.items()]
        self.file.write_text("".join(lines))

    async def reload(self, **variables: object) -> dict[str, Any]:
        """Write the file, and send SIGHUP; the line in the log about it."""
        self.write(**variables)
        event = "settings reloaded"
        before = len(self.gateway.events(event))
        self.gateway.signal(signal.SIGHUP)
        return (await self.gateway.logged(event, before + 1))[-1]

    async def until_status(self, status: int, path: str, token: str) -> None:
        """Wait until a request gets this answer ten times in a row, from whichever worker."""
        end = time.monotonic() + PATIENCE
        same = 0
        while same < 10:
            answer = self.gateway.request("GET", path, {"Authorization": token})
            same = same + 1 if answer.status == status else 0
            assert time.monotonic() < end, answer
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("workers", [1, thorough(2)])
async def test_hangup_reloads_limits_keys_and_log_level(
    serve: Serve, market: Market, tmp_path: Path, workers: int
) -> None:
    reloaded = Reloaded(serve, tmp_path, workers=workers)
    gateway = reloaded.gateway
    ids = [each.contract_id for each in market.take(2)]
    old, new = (create_token(each, "desk", 1, now=time.time()) for each in (SECRET, NEW_SECRET))
    both = "/static/data/contract/id?" + "&".join(f"contract_ids={each}" for each in ids)
    await reloaded.until_status(200, both, old)
    async with gateway.by_id(*ids, token=old) as client:
        line = await reloaded.reload(
            JWT_SECRET=NEW_SECRET, MAX_CONTRACTS=1, CORS_ORIGINS="*", PORT=1, MAX_CONECTIONS=5
        )
        assert sorted(line["changes"]) == [
            "--cors-origins - -> *",
            "--jwt-secret (not shown)",
            "--max-contracts 1000 -> 1",
        ]
        await reloaded.until_status(401, both, old)
        await reloaded.until_status(422, both, new)
        one = f"/static/data/contract/id?contract_ids={ids[0]}"
        await reloaded.until_status(200, one, new)
        answer = gateway.request("GET", one, {"Authorization": new, "Origin": "https://a.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        document = json.loads(gateway.get("/openapi.json").body)
        assert '"maxItems":1}' in json.dumps(document, separators=(",", ":"))
        [unknown] = gateway.events("environment variable is not a setting")
        assert unknown["variable"] == "IME_LIVE_MAX_CONECTIONS"
        # Its key is gone, and its selection too large, but it was opened before.
        await asyncio.wait_for(await client.ping(), PATIENCE)
    await reloaded.reload(JWT_SECRET=NEW_SECRET, LOG_LEVEL="error", MAX_CONTRACTS=1)
    async with asyncio.timeout(PATIENCE):
        lines = -1
        while lines != len(gateway.log):  # of a worker that has not been told yet
            lines = len(gateway.log)
            async with gateway.by_id(ids[0], token=new) as client:
                await asyncio.wait_for(await client.ping(), PATIENCE)
            await asyncio.sleep(0.1)


async def test_hangup_with_wrong_settings_changes_nothing(
    serve: Serve, market: Market, tmp_path: Path
) -> None:
    reloaded = Reloaded(serve, tmp_path)
    gateway = reloaded.gateway
    token = create_token(SECRET, "desk", 1, now=time.time())
    path = f"/static/data/contract/id?contract_ids={market.one().contract_id}"
    wrong: list[dict[str, object]] = [
        {"MAX_CONTRACTS": 0},
        {"MAX_CONTRACTS": "many"},
        {"JWT_SECRET": "short"},
        {"JWT_SECRET_FILE": "/nowhere"},
        {"AUTH": "none", "JWT_SECRET": ""},
        {"LOG_LEVEL": "loud"},
        {"STREAM_ORIGINS": "nonsense"},
    ]
    for count, variables in enumerate(wrong, 1):
        reloaded.write(**{"JWT_SECRET": NEW_SECRET, "CORS_ORIGINS": "*"} | variables)
        gateway.signal(signal.SIGHUP)
        event = "settings cannot be reloaded; nothing has changed"
        line = (await gateway.logged(event, count))[-1]
        assert line["level"] == "error"
        name = next(iter(variables))
        if name != "AUTH":
            assert f"--{name.lower().replace('_', '-')}" in line["error"]
        assert NEW_SECRET not in str(line)
        answer = gateway.request("GET", path, {"Authorization": token, "Origin": "https://a.b"})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, None)
    assert gateway.events("settings reloaded") == []
    reloaded.file.unlink()
    gateway.signal(signal.SIGHUP)
    assert "cannot be read" in (await gateway.logged(event, len(wrong) + 1))[-1]["error"]
    # A file that is right again is read as if nothing had happened.
    line = await reloaded.reload(JWT_SECRET=SECRET)
    assert line["changes"] == "none"
