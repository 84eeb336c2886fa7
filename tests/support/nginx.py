"""nginx in front of a server of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import free_port, until


@contextmanager
def nginx(folder: Path, upstream: str, *directives: str, server: str = "") -> Iterator[int]:
    """Run an nginx in front of a server, and yield its port; skip the test without nginx.

    Args:
        folder: takes its files; it is made if it does not exist.
        upstream: host and port of the server.
        directives: of the location.
        server: words after the port, and directives of nginx's own server.
    """
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    folder.mkdir(exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
        events {{ worker_connections 100; }}
        http {{
            access_log off;
            {"".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)}
            server {{
                listen 127.0.0.1:{port} {server or ";"}
                location / {{ proxy_pass http://{upstream}; {" ".join(directives)} }}
            }}
        }}
    """)
    command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command) as process:  # noqa: S603 - our own command

        def listens() -> bool:
            assert process.poll() is None, "nginx does not start"
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        try:
            until(listens)
            yield port
        finally:
            process.terminate()
