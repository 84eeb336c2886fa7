"""Centrifugo as a contender: one node with its memory broker, by its unidirectional WebSocket."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from benchmarks.load import Request
from benchmarks.processes import SECRET, Contender, Running, start_process
from benchmarks.publications import CentrifugoPublisher, name_of

# Go installs to GOBIN, or to the first folder of GOPATH, which is ~/go if it is not set.
_GO_FOLDERS: Final = (
    os.environ.get("GOBIN", ""),
    *(f"{folder}/bin" for folder in os.environ.get("GOPATH", "").split(":")[:1] if folder),
    str(Path.home() / "go" / "bin"),
)
_GO: Final = shutil.which("go")
_CENTRIFUGO: Final = shutil.which("centrifugo") or shutil.which(
    "centrifugo", path=os.pathsep.join(filter(None, _GO_FOLDERS))
)


def configuration(port: int) -> dict[str, object]:
    """Configure a node that verifies tokens, and joins the messages of a burst in one frame."""
    return {
        "http_server": {"address": "127.0.0.1", "port": str(port)},
        "client": {
            "token": {"hmac_secret_key": SECRET},
            "channel_limit": 1000,
            # A MiB by default; so much is waiting when a burst is larger than what sockets hold.
            "queue_max_size": 16_777_216,
        },
        "channel": {"without_namespace": {"allow_subscribe_for_client": True}},
        "http_api": {"insecure": True},
        "uni_websocket": {
            "enabled": True,
            "join_push_messages": True,
            "use_write_buffer_pool": True,
        },
        "usage_stats": {"enabled": False},
    }


def request_of(contracts: Sequence[int], token: str) -> Request:
    """Names the channels in the address, as clients that send nothing do."""
    connect = {"token": token, "subs": {name_of(contract): {} for contract in contracts}}
    text = json.dumps(connect, separators=(",", ":"))
    return f"/connection/uni_websocket?cf_connect={quote(text)}", ()


def _start(port: int, redis: int) -> Running:
    del redis
    folder = tempfile.mkdtemp(prefix="ime-live-centrifugo-")
    file = Path(folder) / "config.json"
    file.write_text(json.dumps(configuration(port)))
    try:
        process = start_process([_CENTRIFUGO or "centrifugo", "--config", str(file)], port)
    except RuntimeError:
        shutil.rmtree(folder)
        raise
    return Running(
        [process], port, CentrifugoPublisher(port), request_of, folder, joins_messages=True
    )


CENTRIFUGO: Final = Contender(
    "Centrifugo (Go)",
    None
    if _CENTRIFUGO
    else "no centrifugo on PATH or in Go's folder "
    "(go install github.com/centrifugal/centrifugo/v6@latest)",
    _start,
    "Verifies tokens; no validation, no conflation: a slow client is closed when its queue is "
    "full. Published to by HTTP, a batch for each burst; its memory broker, without Redis.",
    # The program does not know its version if it was not built by its makers.
    (_GO, "version", "-m", _CENTRIFUGO) if _GO and _CENTRIFUGO else (),
)
