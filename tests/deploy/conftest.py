"""Fixtures: two gateways, and the proxies of ``deploy/`` in front of them with TLS."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.store import Store
from tests.support.gateways import PATIENCE, Gateway
from tests.support.servers import free_port
from tests.support.tls import TlsProxy

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
PREFIX: Final = "/data-engine/ime"
CONTRACTS: Final = [Contract(contract_id=str(n), contract_name=f"KASH{n:04}") for n in range(1000)]


class Site:
    """A proxy with TLS and the two gateways behind it.

    Attributes:
        url: address of the proxy, without a path.
        ca: file of the authority that signed its certificate.
        challenges: folder in which an ACME client puts its answers for nginx.
        acme: port on which an ACME client answers HAProxy.
        context: for clients that verify its certificate.
    """

    def __init__(self, kind: str, folder: Path, gateways: list[int], tls: TlsProxy) -> None:
        self.kind, self._gateways = kind, gateways
        self.port, self._plain, self.acme = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = tls.ca
        self.context = ssl.create_default_context(cafile=str(tls.ca))
        self._folder = folder
        self.challenges = folder / "html"
        write = self._write_haproxy if kind == "haproxy" else self._write_nginx
        command = write(tls.ca.parent / "server.pem")
        self._output = (folder / "output").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )
        self._until_it_answers()

    def _replaced(self, text: str) -> str:
        for n, port in enumerate(self._gateways, 1):
            text, count = re.subn(rf"127\.0\.0\.1:800{n}\b", f"127.0.0.1:{port}", text)
            assert count == 1
        return text

    def _write_nginx(self, certificate: Path) -> list[str]:
        text = self._replaced((DEPLOY / "nginx" / "ime-live.conf").read_text())
        if self.kind.startswith("nginx-prefix"):
            # Its site is the one of ime-live.conf, whose location goes.
            prefixed = (DEPLOY / "nginx" / "ime-live-prefix.conf").read_text()
            if self.kind == "nginx-prefix-stripped":
                prefixed = prefixed.replace("http://ime_live;", "http://ime_live/;")
            begin = text.index("    # /metrics, /health")
            text = text[:begin] + prefixed + "}\n"
        text = re.sub(r"ssl_certificate +.*", f"ssl_certificate {certificate};", text)
        text = re.sub(r"ssl_certificate_key .*", f"ssl_certificate_key {certificate};", text)
        text = re.sub(r"listen \[::\].*\n", "", text)  # there may be no IPv6
        text = text.replace("/var/www/html", str(self.challenges))
        text = text.replace("listen 443", f"listen 127.0.0.1:{self.port}")
        text = text.replace("listen 80", f"listen 127.0.0.1:{self._plain}")
        (self._folder / "ime-live.conf").write_text(text)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{each}_temp_path {self._folder}/{each};" for each in kinds)
        (self._folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {self._folder}/pid; error_log stderr;\n"
            "events { worker_connections 1000; }\n"
            f"http {{ {places} access_log {self._folder}/access.log;\n"
            f"include {self._folder}/ime-live.conf; }}\n"
        )
        return [
            _program("nginx"),
            *("-p", str(self._folder), "-e", "stderr"),
            *("-c", str(self._folder / "nginx.conf")),
        ]

    def _write_haproxy(self, certificate: Path) -> list[str]:
        text = self._replaced((DEPLOY / "haproxy" / "haproxy.cfg").read_text())
        text = text.replace("127.0.0.1:8888", f"127.0.0.1:{self.acme}")
        text = re.sub(r"crt \S+", f"crt {certificate}", text)
        text = text.replace("bind :443", f"bind 127.0.0.1:{self.port}")
        text = text.replace("bind :80", f"bind 127.0.0.1:{self._plain}")
        # The limit of open files of the tests is lower.
        text = text.replace("maxconn 60000", "maxconn 500")
        # Only root can change the user.
        text = re.sub(r" +(user|group) haproxy\n", "", text)
        path = self._folder / "haproxy.cfg"
        path.write_text(text)
        return [_program("haproxy"), "-db", "-f", str(path)]

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.get("/docs").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            said = (self._folder / "output").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    @property
    def prefix(self) -> str:
        """The path prefix of the service."""
        return PREFIX if self.kind.startswith("nginx-prefix") else ""

    def get(self, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        """Ask the proxy by GET, at a path below the prefix."""
        return httpx.get(
            self.url + self.prefix + path, verify=self.context, trust_env=False, **options
        )

    @property
    def plain(self) -> str:
        """Address of the proxy without TLS."""
        return f"http://127.0.0.1:{self._plain}"

    def logged(self) -> str:
        """Return what the proxy has logged of requests, and of itself."""
        logs = [self._folder / name for name in ("access.log", "output")]
        return "".join(log.read_text() for log in logs if log.exists())

    def end(self) -> None:
        """End the proxy."""
        self._process.kill()
        self._process.wait()
        self._output.close()


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="session")
def store_of_site() -> Iterator[EmbeddedValkey]:
    """A Valkey with contracts and the state of the first one."""

    async def fill(settings: StoreSettings) -> None:
        async with Store(settings) as store:
            await store.import_contracts(CONTRACTS)

    with EmbeddedValkey() as server:
        asyncio.run(fill(StoreSettings(redis_url=server.url)))
        yield server


@pytest.fixture(scope="session")
def gateways(
    store_of_site: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Gateway]]:
    """Two gateways that take the prefix, and requests without it."""
    running = [
        Gateway(tmp_path_factory.mktemp("gateway"), store_of_site.url, root_path=PREFIX)
        for _ in range(2)
    ]
    try:
        yield [gateway.when_ready() for gateway in running]
    finally:
        for gateway in running:
            gateway.end()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsProxy:
    """A certificate for 127.0.0.1."""
    return TlsProxy(tmp_path_factory.mktemp("tls"))


@pytest.fixture(
    scope="module", params=["nginx", "nginx-prefix", "nginx-prefix-stripped", "haproxy"]
)
def site(
    request: pytest.FixtureRequest,
    gateways: list[Gateway],
    tls: TlsProxy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """Each proxy of ``deploy/`` in turn."""
    made = Site(
        request.param, tmp_path_factory.mktemp("proxy"), [gateway.port for gateway in gateways], tls
    )
    yield made
    made.end()
