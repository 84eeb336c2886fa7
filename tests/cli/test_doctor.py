"""`ime-live doctor`, and its checks of a gateway alone and behind nginx."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ime_live.doctor.check import run_checks
from ime_live.doctor.gateway_checks import GATEWAY_CHECKS, CheckedGateway
from tests.cli.conftest import line_of
from tests.support.nginx import nginx
from tests.support.tls import TlsProxy

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
Found = dict[str, dict[str, str]]


async def answers(url: str, token: str | None = None) -> Found:
    """The answers of all checks of a gateway: of each check the worst one."""
    order = ["skipped", "ok", "warning", "failed"]
    found: Found = {}
    async for each in run_checks(GATEWAY_CHECKS, CheckedGateway(url, token)):
        before = found.get(each.check)
        if before is None or order.index(each.level) > order.index(before["level"]):
            found[each.check] = {"level": each.level, "text": each.text, "remedy": each.remedy}
    return found


def levels(found: Found) -> dict[str, str]:
    return {name: str(each["level"]) for name, each in found.items()}


PASSED = ("address", "tls", "ready", "rest", "websocket", "events", "host")

GOOD = (
    "proxy_http_version 1.1; proxy_buffering off; proxy_set_header Host $http_host;",
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
)


@pytest.fixture
def gateway(serve: Callable[..., str], register: Callable[..., None], database: Any) -> str:  # noqa: ANN401
    """Host and port of a gateway with a contract."""
    record = {"contractId": "1", "contractName": "A", "market": "IMEFutures"}
    database.hset("ime:contracts", "1", json.dumps(record))
    return serve()


async def test_gateway_passes_alone_and_behind_a_proxy_that_is_set_up_well(
    gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert levels(await answers(f"http://{gateway}")) == dict.fromkeys(PASSED, "ok")
    found = await answers(f"https://{gateway}")
    assert found["tls"]["text"].startswith("no TLS there: ")
    assert "_ssl.c" not in found["tls"]["text"]
    found = await answers(f"http://{gateway}/no/such/prefix")
    assert levels(found) | {"host": "ok"} == dict.fromkeys(PASSED, "failed") | {
        "address": "ok",
        "tls": "ok",
        "ready": "warning",
        "host": "ok",
    }
    assert "path prefix" in found["websocket"]["remedy"]
    monkeypatch.setenv("SSL_CERT_FILE", str(TlsProxy(tmp_path).ca))
    pair = f"ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.pem;"
    with nginx(tmp_path / "nginx", gateway, *GOOD, server=f"ssl; {pair}") as port:
        found = await answers(f"https://127.0.0.1:{port}")
        assert levels(found) | {"tls": "ok"} == dict.fromkeys(PASSED, "ok")
        assert "certificate trusted for" in found["tls"]["text"]
        monkeypatch.delenv("SSL_CERT_FILE")
        found = await answers(f"https://127.0.0.1:{port}")
        assert found["tls"]["text"].startswith("the certificate is not trusted: ")
        assert levels(found)["events"] == "skipped"
        found = await answers(f"http://127.0.0.1:{port}")
        assert "failed" in levels(found).values()


async def test_proxy_that_buffers_and_does_not_pass_on_websockets_is_found(
    gateway: str, tmp_path: Path
) -> None:
    bad = "proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;"
    with nginx(tmp_path, gateway, bad) as port:
        found = await answers(f"http://127.0.0.1:{port}")
    assert levels(found) == dict.fromkeys(PASSED, "ok") | {
        "websocket": "failed",
        "events": "failed",
        "host": "warning",
    }
    assert "proxy_set_header Upgrade" in found["websocket"]["remedy"]
    assert "a proxy buffers them" in found["events"]["text"]
    assert "proxy_set_header Host" in found["host"]["remedy"]


async def test_token_that_is_missing_or_wrong_is_found(start: Start) -> None:
    process = start("serve", "--port", "0", "--jwt-secret", "x" * 32)
    assert process.stderr is not None
    port = line_of(process.stderr, "listening").partition("port=")[2].split()[0]
    line_of(process.stderr, "contracts loaded")
    found = await answers(f"ws://127.0.0.1:{port}")
    assert found["rest"]["text"].startswith("a token is asked for: ")
    assert found["websocket"]["text"].startswith("connected, but refused: ")
    found = await answers(f"ws://127.0.0.1:{port}", "a.b.c")
    assert found["rest"]["text"].startswith("the token is refused: ")


async def test_doctor_skips_later_checks_if_nothing_listens_at_the_address() -> None:
    found = await answers("ws://127.0.0.1:1")
    assert levels(found) == dict.fromkeys(PASSED, "skipped") | {"address": "failed"}
    assert found["address"]["text"] == "127.0.0.1 port 1: connection refused"


def test_doctor_reports_a_set_up_in_words_and_as_json(ime_live: Run) -> None:
    secret = "a secret of forty bytes, or a few less"
    done = ime_live("doctor", "--port", "0", "--jwt-secret", secret)
    assert done.returncode == 0, done.stdout
    assert "ok       redis: Valkey" in done.stdout
    assert "warning  contracts: no contracts are registered" in done.stdout
    assert "→ run a feed, or register them" in done.stdout
    assert "\x1b" not in done.stdout
    assert "failed" not in done.stderr
    done = ime_live("doctor", "--json", "--port", "0")  # without a key
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["check"] for each in found} >= {"settings", "redis", "rights", "feed"}
    assert [each["check"] for each in found if each["level"] == "failed"] == ["settings"]
    assert secret not in done.stdout


def test_doctor_writes_its_report_when_the_exchange_is_unreachable(
    ime_live: Run, tmp_path: Path
) -> None:
    done = ime_live("doctor", "--exchange", "--base-url", "http://127.0.0.1:1/")
    assert done.returncode == 1
    report = json.loads((tmp_path / "ime-exchange-report.json").read_text())
    assert report["findings"][0]["level"] == "failed"
    assert "ime-exchange-report.json" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--url", "http://x", "--exchange"), "must not be given together"),
        (("--url", "ftp://x"), "must begin with ws://"),
        (("--exchange", "--boards", "moon"), "--boards must be some of"),
        (
            ("--exchange", "--base-url", "http://127.0.0.1:1", "--report", "no/x"),
            "--report no/x cannot be written: ",
        ),
    ],
)
def test_doctor_refuses_wrong_use(ime_live: Run, arguments: tuple[str, ...], error: str) -> None:
    done = ime_live("doctor", *arguments)
    assert done.returncode == 2
    assert error in done.stderr
