"""No secret is in what a gateway shows: logs, metrics, errors, and the list of processes."""

from __future__ import annotations

import time
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from ime_live.gateway.auth.tokens import create_token
from ime_live.local.embedded import EmbeddedValkey
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.gateways import closed

OTHER = "a secret in a file of the tests, long enough"
REJECTED = "a secret that no gateway has, long enough"


async def test_secrets_are_in_no_output_of_a_gateway(
    serve: Serve, market: Market, backend: EmbeddedValkey, tmp_path: Path
) -> None:
    file = tmp_path / "secrets"
    file.write_text(OTHER)
    gateway = serve(
        auth="jwt",
        log_level="debug",
        workers=2,
        jwt_secret_file=file,
        max_subject_connections=1,
        variables={"IME_LIVE_JWT_SECRET": SECRET},
    )
    contract = market.one().contract_id
    good = [create_token(each, "mallory", 1, now=time.time()) for each in (SECRET, OTHER)]
    bad = create_token(REJECTED, "mallory", 1, now=time.time())
    sent = [*good, bad, "no-token-but-secret", good[0] + "x"]
    shown = []
    for token in sent:
        for headers, query in (({"Authorization": f"Bearer {token}"}, ""), ({}, f"&token={token}")):
            for path in ("/static/data/contract/id", "/live/data/sse/contract/id", "/nowhere"):
                method = "HEAD" if "sse" in path and token in good else "GET"
                answer = gateway.request(method, f"{path}?contract_ids={contract}{query}", headers)
                shown.append(str(answer.headers) + answer.body.decode())
        try:
            async with gateway.by_id(contract, token=token) as client:
                if token not in good:
                    shown.append((await closed(client)).reason)
        except (ConnectionClosed, OSError) as error:
            shown.append(str(error))
    shown.append(gateway.get("/metrics").body.decode())
    shown.append(gateway.get("/ready").body.decode())
    for process in list(Path("/proc").glob("[0-9]*/cmdline")):  # noqa: ASYNC240 - files of the kernel
        try:
            line = process.read_bytes()
        except OSError:  # it has ended
            continue
        if str(gateway.port).encode() in line or b"ime_live" in line:
            shown.append(line.decode("utf-8", "replace"))
    gateway.signal(15)
    await gateway.ended()
    shown.append(gateway.output)
    text = "\n".join(shown)
    assert "mallory" in text  # the subject may be shown
    for secret in (SECRET, OTHER, REJECTED):
        assert secret not in text
    for token in sent:
        for part in {token, token.split(".")[-1]}:
            assert part not in text
