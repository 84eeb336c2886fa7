"""The proxies of ``deploy/``: TLS, streams, events, calls, and gateways that go away."""

from __future__ import annotations

import asyncio
import functools
import signal
import subprocess
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import ime_live
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.deploy.conftest import CONTRACTS, PREFIX, Site
from tests.support.gateways import PATIENCE, Gateway
from tests.support.servers import free_port
from tests.support.tls import TlsProxy

Payload = Callable[..., dict[str, Any]]


async def test_stream_through_a_proxy_takes_a_thousand_names(
    site: Site, store_of_site: EmbeddedValkey, payload: Payload
) -> None:
    names = [contract.contract_name for contract in CONTRACTS]
    async with Publisher(store_of_site.url) as publisher, asyncio.timeout(PATIENCE):
        await publisher.publish("7", payload(Aggregate={"last_price": 0}))
        async with ime_live.connect(
            site.url + site.prefix, names, snapshot=True, ssl=site.context, proxy=None
        ) as stream:
            for price in range(3):
                message = await anext(stream)
                while message.contract_name != "KASH0007":  # those of other tests
                    message = await anext(stream)
                assert message.data.aggregate.last_price == price
                await publisher.publish("7", payload(Aggregate={"last_price": price + 1}))


async def test_events_through_a_proxy_arrive_one_by_one(
    site: Site, store_of_site: EmbeddedValkey, payload: Payload
) -> None:
    path = f"{site.prefix}/live/data/sse/contract/id?contract_id=8"
    async with (
        Publisher(store_of_site.url) as publisher,
        httpx.AsyncClient(verify=site.context, trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", site.url + path) as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        for price in range(3):  # the next one is published when the last one has arrived
            await publisher.publish("8", payload(Aggregate={"last_price": price}))
            async with asyncio.timeout(PATIENCE):
                while f'"last_price":{price}' not in (await anext(lines)).replace(" ", ""):
                    pass


async def test_calls_through_a_proxy_come_by_http_2(
    site: Site, store_of_site: EmbeddedValkey, payload: Payload
) -> None:
    async with Publisher(store_of_site.url) as publisher:
        await publisher.publish("9", payload())
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *("curl", "--silent", "--http2", "--noproxy", "*", "--write-out", "%{http_version}"),
            *("--cacert", str(site.ca), "--output", "-"),
            f"{site.url}{site.prefix}/live/data/overview/contract/id?contract_id=9",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert '"BestLimit"' in done.stdout
    assert done.stdout.endswith("}2") or done.stdout.endswith("]2")


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/health", "/ready", "/%6Detrics", "/metric%73", PREFIX + "/metrics", "//ready"],
)
def test_proxy_keeps_the_operator_s_paths_to_itself(site: Site, path: str) -> None:
    assert site.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/ime-live.js", "/page/page.css"])
def test_proxy_passes_the_pages_on(site: Site, path: str) -> None:
    assert site.get(path).status_code == 200


def test_proxy_passes_the_challenge_of_an_acme_client_without_tls(site: Site) -> None:
    path = site.challenges / ".well-known" / "acme-challenge" / "name"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("proof")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site.challenges))
    with ThreadingHTTPServer(("127.0.0.1", site.acme), handler) as standalone:
        threading.Thread(target=standalone.serve_forever, daemon=True).start()
        answer = httpx.get(f"{site.plain}/.well-known/acme-challenge/name", trust_env=False)
        standalone.shutdown()
    assert (answer.status_code, answer.text) == (200, "proof")


def test_proxy_redirects_to_tls(site: Site) -> None:
    answer = httpx.get(f"{site.plain}/docs", trust_env=False)
    assert answer.status_code == 301
    assert answer.headers["location"].startswith("https://127.0.0.1")


def test_proxy_does_not_log_tokens(site: Site) -> None:
    assert site.get("/docs?token=sesame").status_code == 200
    assert httpx.get(f"{site.plain}/docs?token=sesame", trust_env=False).status_code == 301
    assert "sesame" not in site.logged()


async def _open_four_streams(site: Site) -> None:
    """Half of them would meet a gateway that does not answer."""
    for _ in range(4):
        async with (
            asyncio.timeout(PATIENCE),
            ime_live.connect(
                site.url + site.prefix, ["KASH0001"], snapshot=True, ssl=site.context, proxy=None
            ) as stream,
        ):
            assert (await anext(stream)).contract_name == "KASH0001"


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
async def test_unreachable_gateway_gets_no_clients(
    kind: str,
    gateways: list[Gateway],
    tls: TlsProxy,
    store_of_site: EmbeddedValkey,
    payload: Payload,
    tmp_path: Path,
) -> None:
    async with Publisher(store_of_site.url) as publisher:
        await publisher.publish("1", payload())
    site = Site(kind, tmp_path, [free_port(), gateways[1].port], tls)
    try:
        await _open_four_streams(site)
    finally:
        site.end()


async def test_haproxy_gives_a_hanging_gateway_no_clients(
    gateways: list[Gateway],
    tls: TlsProxy,
    store_of_site: EmbeddedValkey,
    payload: Payload,
    tmp_path: Path,
) -> None:
    async with Publisher(store_of_site.url) as publisher:
        await publisher.publish("1", payload())
    site = Site("haproxy", tmp_path, [gateway.port for gateway in gateways], tls)
    gateways[0].signal(signal.SIGSTOP)  # the kernel accepts connections, and nothing answers
    try:
        await _open_four_streams(site)
    finally:
        gateways[0].signal(signal.SIGCONT)
        site.end()
