"""Authentication, as a client sees it: where a token goes, and what a bad one gets."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.gateways import Gateway, RawClient, closed, handshake, receive

Payload = Callable[..., dict[str, Any]]


def token(
    seconds: float = 3600.0,
    key: Any = SECRET,  # noqa: ANN401 - what PyJWT takes
    algorithm: str = "HS256",
    **claims: Any,  # noqa: ANN401 - JSON
) -> str:
    """A token of ``alice`` that expires in so many seconds."""
    return jwt.encode(
        {"sub": "alice", "exp": time.time() + seconds} | claims, key, algorithm=algorithm
    )


def header(value: str) -> dict[str, Any]:
    """The option of the client that sends an Authorization header."""
    return {"additional_headers": {"Authorization": value}}


def subprotocols(*values: str) -> dict[str, Any]:
    """The option of the client that offers subprotocols."""
    return {"subprotocols": [Subprotocol(value) for value in values]}


@pytest.mark.parametrize(
    ("options", "echoed"),
    [
        (lambda t: header(t), None),
        (lambda t: header(f"Bearer {t}"), None),
        (lambda t: header(f"bearer  {t}"), None),
        (lambda t: subprotocols("ime-live", f"token.{t}"), "ime-live"),
        (lambda t: subprotocols(f"token.{t}", "ime-live"), "ime-live"),
        (lambda t: subprotocols(f"token.{t}"), None),
    ],
    ids=[
        *("bare header", "Bearer", "two blanks"),
        *("subprotocol after ours", "subprotocol before ours", "subprotocol alone"),
    ],
)
async def test_token_is_accepted_in_header_and_subprotocol(
    guarded: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    options: Callable[[str], dict[str, Any]],
    echoed: str | None,
) -> None:
    contract = market.one()
    path = guarded.stream("id", [contract.contract_id])
    async with guarded.connect(path, **options(token())) as client:
        assert client.subprotocol == echoed
        await publisher.publish(contract.contract_id, payload())
        assert (await receive(client))["ContractId"] == contract.contract_id


async def test_token_is_accepted_in_the_query(
    guarded: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    async with guarded.by_id(contract.contract_id, token=token()) as client:
        await publisher.publish(contract.contract_id, payload())
        await receive(client)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "authentication required"),
        ("", "authentication required"),
        ("garbage", "invalid token"),
        ("Bearer a.b.c", "invalid token"),
        (token(key="another secret, that is as long as it has to be"), "invalid token"),
        (token(seconds=-5), "token expired"),
        (token(nbf=time.time() + 3000), "token not yet valid"),
        (jwt.encode({"sub": "alice"}, "", algorithm="none"), "invalid token"),
    ],
)
async def test_bad_token_is_1008(
    guarded: Gateway, market: Market, value: str | None, reason: str
) -> None:
    path = guarded.stream("id", [market.one().contract_id])
    options = {} if value is None else header(value)
    async with guarded.connect(path, **options) as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, reason)


async def test_refusal_of_a_bad_token_names_no_contract(guarded: Gateway) -> None:
    async with guarded.by_name("XYZ") as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "authentication required")


async def test_expired_token_ends_the_stream(
    guarded: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    path = guarded.stream("id", [contract.contract_id])
    async with (
        guarded.connect(path, **header(token(1.0))) as client,
        guarded.connect(path, **header(token(60.0))) as other,
    ):
        await publisher.publish(contract.contract_id, payload())
        await receive(client)
        await receive(other)
        close = await closed(client)
        assert (close.code, close.reason) == (1008, "token expired")
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 99}))
        await receive(other)


async def test_contracts_claim_limits_the_contracts_of_a_token(
    guarded: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    one, other = market.take(2)
    options = header(token(contracts=[one.contract_name[:-1] + "*", "SAFOR*"]))
    covered = guarded.stream("id", [one.contract_id])
    async with guarded.connect(covered, **options) as client:
        await publisher.publish(one.contract_id, payload())
        await receive(client)
    options = header(token(contracts=[one.contract_name]))
    names = [one.contract_name, other.contract_name]
    async with guarded.connect(guarded.stream("name", names), **options) as client:
        close = await closed(client)
    assert close.code == 1008
    assert close.reason == f"contract not covered by the token: {other.contract_name}"


@pytest.mark.parametrize(
    ("claims", "reason", "detail"),
    [
        (
            {"exp": "soon"},
            "invalid claims",
            "exp must be a number of seconds since 1970, got a text",
        ),
        (
            {"contracts": ["A", 1]},
            "invalid claims",
            "contracts must be a text or a list of texts, got a list with a number",
        ),
        ({"nbf": time.time() + 5000}, "token not yet valid", "nbf is "),
    ],
)
async def test_wrong_claim_is_named_in_the_log_and_in_rest(
    guarded: Gateway,
    market: Market,
    eventually: Callable[..., Awaitable[None]],
    claims: dict[str, Any],
    reason: str,
    detail: str,
) -> None:
    contract = market.one()
    value = token(**claims)
    path = guarded.stream("id", [contract.contract_id])
    begun = len(guarded.log)
    async with guarded.connect(path, **header(value)) as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, reason)
    for call in (
        f"/live/data/overview/contract/id?contract_ids={contract.contract_id}",
        "/static/data/contract/search?market=IMEFutures&Search_char=A",
        "/live/status",
    ):
        answer = guarded.request("GET", call, {"Authorization": value})
        assert answer.status == 401
        assert answer.json()["detail"].startswith(f"{reason}; {detail}")

    def lines(event: str) -> list[dict[str, Any]]:
        return [
            line
            for line in guarded.log[begun:]
            if line["event"] == event and line.get("detail", "").startswith(detail)
        ]

    await eventually(lambda: lines("stream closed") and lines("request refused"))
    assert lines("stream closed")[0]["reason"] == lines("request refused")[0]["reason"] == reason


async def test_token_from_a_clock_slightly_ahead_is_accepted(
    guarded: Gateway, market: Market
) -> None:
    value = token(iat=time.time() + 2)
    assert await _refusal(guarded, market.one().contract_id, value, status="true") == ""


async def test_output_contains_no_token(guarded: Gateway, market: Market) -> None:
    # Its three parts by themselves too; the first is common to all tokens of an algorithm.
    secrets = [token(1.0 + n) for n in range(4)] + ["a-token-that-is-none"]
    path = guarded.stream("id", [market.one().contract_id])
    for secret in secrets:
        for options in (header(secret), subprotocols("ime-live", f"token.{secret}"), {}):
            query = "" if options else f"&token={secret}"
            async with guarded.connect(path + query, **options):
                pass
            async with await RawClient.open(guarded.port) as client:
                await client.send(handshake(f"/nothing?token={secret}"))
                await client.read_all()
                guarded.get(f"{path}&token={secret}")
    async with await RawClient.open(guarded.port) as client:
        await client.send(f"GET /?token={secrets[0]} nonsense\r\n\r\n".encode())
        await client.read_all()
    output = guarded.output
    assert '"stream opened"' in output
    for part in {part for secret in secrets for part in secret.split(".")[1:] or [secret]}:
        assert part not in output
    assert SECRET not in output


# Keys of others


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:  # noqa: ANN401
            super().__init__(*args, directory=str(folder))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _pem(private: Any) -> bytes:  # noqa: ANN401
    pem: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


async def _refusal(gateway: Gateway, contract_id: str, value: str, status: str = "false") -> str:
    """Connect with a token; the reason of the refusal, empty if there is none."""
    path = gateway.stream("id", [contract_id], snapshot="true", status=status)
    async with gateway.connect(path, **header(value)) as client:
        try:
            await receive(client)
        except ConnectionClosed as error:
            return repr(error) if error.rcvd is None else error.rcvd.reason
    return ""


async def test_public_keys_in_pem_files(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, tmp_path: Path
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    keys: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    gateways = {}
    for algorithm, key in keys.items():
        file = tmp_path / f"{algorithm}.pem"
        file.write_bytes(_pem(key))
        gateways[algorithm] = serve(auth="jwt", jwt_public_key=file, ready=False)
    for algorithm, key in keys.items():
        gateway = gateways[algorithm].when_ready()
        for other, other_key in keys.items():
            reason = await _refusal(
                gateway, contract.contract_id, token(key=other_key, algorithm=other)
            )
            assert reason == ("" if key is other_key else "invalid token")


async def test_jwks_outage_keeps_known_keys(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, tmp_path: Path
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    keys = {kid: rsa.generate_private_key(65537, 2048) for kid in ("known", "strange")}
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(keys["known"].public_key(), as_dict=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk | {"kid": "known"}]}))

    def signed(kid: str) -> str:
        claims = {"sub": "alice", "exp": time.time() + 3600}
        return jwt.encode(claims, keys[kid], algorithm="RS256", headers={"kid": kid})

    with _served(tmp_path) as url:
        gateway = serve(auth="jwt", jwks=f"{url}/jwks.json")
        assert await _refusal(gateway, contract.contract_id, signed("known")) == ""
    # The URL is down now.
    assert await _refusal(gateway, contract.contract_id, signed("known")) == ""
    assert await _refusal(gateway, contract.contract_id, signed("strange")) == "invalid token"


async def test_key_rotation_under_the_same_kid(
    serve: Serve, market: Market, tmp_path: Path
) -> None:
    contract = market.one()
    old, new = (rsa.generate_private_key(65537, 2048) for _ in range(2))

    def publish(key: rsa.RSAPrivateKey) -> None:
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk | {"kid": "k"}]}))

    def signed(key: rsa.RSAPrivateKey) -> str:
        claims = {"sub": "alice", "exp": time.time() + 3600}
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k"})

    publish(old)
    with _served(tmp_path) as url:
        gateway = serve(auth="jwt", jwks=f"{url}/jwks.json")
        assert await _refusal(gateway, contract.contract_id, signed(old), status="true") == ""
        publish(new)
        assert await _refusal(gateway, contract.contract_id, signed(new), status="true") == ""
        assert await _refusal(gateway, contract.contract_id, signed(old)) == "invalid token"
    assert len(await gateway.logged("jwks refreshed", 2)) == 2
