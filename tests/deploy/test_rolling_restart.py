"""A rolling restart of two gateways behind the proxies of ``deploy/``, step by step as documented.

With 2,000 clients and the default settings, ``python -m benchmarks.rolling_restart`` measures it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import register
from benchmarks.rolling_restart.__main__ import haproxy_without_tls
from benchmarks.rolling_restart.gateway_process import GatewayProcess
from benchmarks.rolling_restart.load import RollingRestart, most_within
from benchmarks.rolling_restart.outcome import END, START, Outcome, with_figures
from ime_live.local.embedded import EmbeddedValkey
from tests.deploy.conftest import Site
from tests.support.tls import TlsProxy

CLIENTS = 100
SPREAD = 2.0


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
async def test_rolling_restart_misses_no_state(kind: str, tls: TlsProxy, tmp_path: Path) -> None:
    options = ("--shutdown-grace", "2.5", "--shutdown-spread", str(SPREAD))
    with EmbeddedValkey() as valkey:
        await register(valkey.url)
        gateways = [GatewayProcess(tmp_path, valkey.url, *options) for _ in range(2)]
        try:
            for gateway in gateways:
                await gateway.start()
            site = Site(kind, tmp_path, [gateway.port for gateway in gateways], tls)
            try:
                async with RollingRestart(
                    gateways, valkey.url, url=site.url, ssl=site.context, clients=CLIENTS
                ) as load:
                    outcome = await load.run(within=SPREAD / 10)
            finally:
                site.end()
        finally:
            for gateway in gateways:
                gateway.kill()
    assert (outcome.missed, outcome.disordered, outcome.away) == (0, 0, 0)
    # The first gateway had half of the clients, the second one then had all of them.
    assert outcome.reconnections >= CLIENTS * 1.4
    assert outcome.states > 50
    # A tenth on an idle machine; without the drain, all of them.
    assert outcome.most_lost <= CLIENTS * 0.3


def test_most_within_counts_any_span() -> None:
    assert most_within(1.0, []) == 0
    assert most_within(1.0, [0.0, 1.0, 2.0]) == 1
    assert most_within(1.0, [2.9, 0.0, 2.0, 2.1]) == 3


def test_figures_replace_the_former_ones() -> None:
    outcome = Outcome(2000, 10, 20, 0, 0, 0, 3000, 140, 150, 1.5, [18.0, 19.0])
    first = with_figures(f"a\n{START}\n{END}\nb\n", outcome, "today")
    assert "| most reconnections in any second | 150 (a tenth is 200) |" in first
    assert with_figures(first, outcome, "today") == first
    with pytest.raises(ValueError, match="must have the comments"):
        with_figures("a", outcome, "today")


def test_proxy_of_the_benchmark_is_the_one_of_deploy() -> None:
    text = haproxy_without_tls(9000, [9001, 9002])
    assert "bind 127.0.0.1:9000\n" in text
    assert "server gateway-1 127.0.0.1:9001" in text
    assert "server gateway-2 127.0.0.1:9002" in text
    assert "ssl crt" not in text
    assert "option httpchk GET /ready" in text
