"""nginx: with Nchan, a contender; with TLS, the proxy that an operator puts before the gateway."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.processes import Contender, Running, start_process
from benchmarks.publications import NchanPublisher, name_of

_NGINX: Final = shutil.which("nginx")
_OPENSSL: Final = shutil.which("openssl")
_MODULE: Final = next(
    (
        path
        for path in (
            "/usr/lib/nginx/modules/ngx_nchan_module.so",
            "/usr/share/nginx/modules/ngx_nchan_module.so",
        )
        if Path(path).exists()
    ),
    None,
)

_CONFIGURATION: Final = """
{module}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; multi_accept on; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  keepalive_requests 10000000;
  large_client_header_buffers 4 32k;
  server {{ {server} }}
}}
"""
_NCHAN: Final = """
    listen 127.0.0.1:{port} backlog=4096;
    location ~ /publish/(.*)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 50;
    }}
    location ~ /stream/(.*)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_channel_id_split_delimiter ",";
      nchan_subscriber_first_message newest;
    }}
"""
# The lines of docs/operations.md, and a certificate.
_TLS: Final = """
    listen 127.0.0.1:{port} ssl backlog=4096;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 60s;
      proxy_buffering off;
    }}
"""


def _start(folder: str, port: int, server: str, module: str = "") -> subprocess.Popen[bytes]:
    configuration = Path(folder) / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(module=module, folder=folder, server=server))
    return start_process([_NGINX or "nginx", "-p", folder, "-c", str(configuration)], port)


def missing_tls() -> str | None:
    """Why nginx cannot run with TLS here, or None."""
    return None if _NGINX and _OPENSSL else "nginx or openssl is not installed"


def start_tls(port: int, behind: int) -> tuple[subprocess.Popen[bytes], str, ssl.SSLContext]:
    """Start nginx with TLS before a port.

    Returns:
        The process, its folder, and how clients connect.

    Raises:
        RuntimeError: it does not start.
    """
    folder = tempfile.mkdtemp(prefix="ime-live-tls-")
    try:
        subprocess.run(  # noqa: S603 - our own arguments
            [
                _OPENSSL or "openssl",
                *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"),
            ],
            check=True,
            capture_output=True,
        )
        server = _TLS.format(port=port, behind=behind, folder=folder)
        process = _start(folder, port, server)
        return process, folder, ssl.create_default_context(cafile=f"{folder}/certificate.pem")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder)
        raise RuntimeError(f"nginx with TLS: {error}") from error


def _start_nchan(port: int, redis: int) -> Running:
    del redis
    folder = tempfile.mkdtemp(prefix="ime-live-nchan-")
    module = f"load_module {_MODULE};"
    process = _start(folder, port, _NCHAN.format(port=port), module)
    return Running(
        [process],
        port,
        NchanPublisher(port),
        lambda contracts, token: ("/stream/" + ",".join(name_of(one) for one in contracts), ()),
        folder,
    )


NCHAN: Final = Contender(
    "Nchan (nginx)",
    None if _NGINX and _MODULE else "no nginx with Nchan (Debian: libnginx-mod-nchan)",
    _start_nchan,
    "No tokens, no validation, no conflation. Published to by HTTP, without Redis.",
    (_NGINX or "nginx", "-v"),
)
