"""The command that checks an installation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.arguments.selecting import Token
from ime_live.cli.lines import reason_of
from ime_live.cli.running import colour, run, write_stderr
from ime_live.errors import SettingsError
from ime_live.settings import DoctorSettings, options

if TYPE_CHECKING:
    from ime_live.doctor.check import Finding

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}

_USED: Final = frozenset(
    {
        *("redis_url", "key_prefix", "redis_timeout", "host", "port", "auth", "root_path"),
        *("jwt_secret", "jwt_public_key", "jwks", "jwt_audience", "jwt_issuer", "timezone"),
        *("base_url", "proxy", "user_agent", "transports", "boards", "connect_timeout"),
    }
)
_OPTIONS: Final = {option.name: "" for option in options(DoctorSettings) if option.name in _USED}


@with_settings(DoctorSettings, only=_OPTIONS)
def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Check only the running gateway at this address, as a client sees it.",
        ),
    ] = None,
    token: Token = None,
    exchange: Annotated[
        bool,
        typer.Option(
            "--exchange",
            help="Check only the exchange's SignalR hub, against what the feed expects.",
        ),
    ] = False,
    report: Annotated[
        Path,
        typer.Option(
            "--report",
            metavar="FILE",
            help="File for the report of --exchange.",
        ),
    ] = Path("ime-exchange-report.json"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one line of JSON per check.")
    ] = False,
    *,
    settings: DoctorSettings,
) -> None:
    """Check an installation, and explain each problem and its remedy.

    By default it checks this machine, the settings, Redis, the contracts and the feed. The exit
    status is 1 if a check fails.
    """
    if url is not None and exchange:
        raise SettingsError("--url and --exchange must not be given together; run doctor twice")
    answers = _check_gateway(url, token) if url is not None else None
    if answers is None:
        answers = _check_exchange(settings, report) if exchange else _check_installation(settings)
    counts: dict[str, int] = {}

    async def work() -> None:
        async for finding in answers:
            counts[finding.level] = counts.get(finding.level, 0) + 1
            for line in [msgspec.json.encode(finding)] if as_json else _format(finding):
                typer.echo(line)

    run(work())
    if not as_json:
        write_stderr(", ".join(f"{count} {level}" for level, count in counts.items()))
    if counts.get("failed"):
        raise typer.Exit(1)


def _format(answer: Finding) -> list[str]:
    mark = colour(f"{answer.level:<8}", _COLOURS[answer.level])
    lines = [f"{mark} {answer.check}: {answer.text}"]
    if answer.remedy:
        lines.append(f"{'':8} → {answer.remedy}")
    return lines


async def _check_installation(settings: DoctorSettings) -> AsyncIterator[Finding]:
    from ime_live.doctor.check import run_checks
    from ime_live.doctor.host_checks import HOST_CHECKS
    from ime_live.doctor.store_checks import STORE_CHECKS, CheckedStore
    from ime_live.store.store import Store

    async for finding in run_checks(HOST_CHECKS, settings):
        yield finding
    async with Store(settings) as store:
        async for finding in run_checks(STORE_CHECKS, CheckedStore(settings, store)):
            yield finding


async def _check_gateway(url: str, token: str | None) -> AsyncIterator[Finding]:
    from ime_live.doctor.check import run_checks
    from ime_live.doctor.gateway_checks import GATEWAY_CHECKS, CheckedGateway

    async for finding in run_checks(GATEWAY_CHECKS, CheckedGateway(url, token)):
        yield finding


async def _check_exchange(settings: DoctorSettings, file: Path) -> AsyncIterator[Finding]:
    from ime_live.doctor.check import run_checks
    from ime_live.doctor.exchange_checks import EXCHANGE_CHECKS, CheckedExchange

    context = CheckedExchange(settings)
    async for finding in run_checks(EXCHANGE_CHECKS, context):
        context.findings.append(finding)
        yield finding
    _write_report(file, msgspec.json.encode(context.report()))


def _write_report(file: Path, report: bytes) -> None:
    try:
        file.write_bytes(msgspec.json.format(report, indent=2))
    except OSError as error:
        raise SettingsError(f"--report {file} cannot be written: {reason_of(error)}") from error
    write_stderr(f"the report is in {file}; it contains no secrets")
