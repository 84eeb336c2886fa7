"""The commands for those without an issuer of tokens."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

import msgspec
import typer

from ime_live.cli.options import with_settings
from ime_live.gateway.keys import keyring_from
from ime_live.gateway.tokens import TokenReport, create_token, inspect_token
from ime_live.settings import JwtSettings

app = typer.Typer(help="Make tokens, and explain them.", no_args_is_help=True)


@app.command()
@with_settings(JwtSettings)
def create(
    subject: Annotated[str, typer.Option("--subject", help="Whom the token is for.")],
    days: Annotated[float, typer.Option("--days", help="How long it is good.")] = 30.0,
    contracts: Annotated[
        list[str] | None,
        typer.Option("--contracts", help="Pattern of what it lets see (KASH*); may be repeated."),
    ] = None,
    *,
    settings: JwtSettings,
) -> None:
    """Make a token, signed with the shared secret (HS256)."""
    token = create_token(
        settings.jwt_secret,
        subject,
        days,
        contracts or None,
        settings.jwt_audience,
        settings.jwt_issuer,
        now=time.time(),
    )
    typer.echo(token)


@app.command()
@with_settings(JwtSettings)
def inspect(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN|-", help="The token; - reads it from standard input.")
    ],
    *,
    settings: JwtSettings,
) -> None:
    """Explain a token, and say whether a gateway with these settings lets it in."""

    text = sys.stdin.read().strip() if token == "-" else token
    has_keys = bool(settings.jwt_secret or settings.jwt_public_key or settings.jwks)

    async def work() -> TokenReport:
        if not has_keys:
            return inspect_token(text, now=time.time())
        keyring = keyring_from(settings)
        await keyring.start()
        try:
            return inspect_token(
                text,
                keyring.keys,
                audience=settings.jwt_audience or None,
                issuer=settings.jwt_issuer or None,
                leeway=settings.jwt_leeway,
                now=time.time(),
            )
        finally:
            await keyring.aclose()

    report = asyncio.run(work())
    typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    if report.accepted is False:
        raise typer.Exit(1)
