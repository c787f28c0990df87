"""Upstreams that get headers as CGI does: a real CGI server, and a WSGI one.

The first is Debian's lighttpd. It is no Python package: ``.ci/run`` fetches it, and says by
AUTHZ_NEEDS_LIGHTTPD that the tests may not do without.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".venv-lighttpd"
SCRIPT = """\
#!{python} -I
import json, os
print("content-type: application/json\\n")
print(json.dumps({{k: v for k, v in os.environ.items() if k.startswith("HTTP_")}}))
"""
# It takes the socket that we made, as from systemd: a free port that nobody else can take.
CONFIG = """\
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.systemd-socket-activation = "enable"
server.modules = ("mod_cgi", "mod_rewrite")
server.errorlog = "{folder}/error.log"
cgi.assign = (".cgi" => "")
url.rewrite-once = (".*" => "/env.cgi")
"""
START = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def _lighttpd() -> list[str]:
    """Return the command of lighttpd. Skips the test, or fails it, if it is missing."""
    unpacked = UNPACKED / "usr/sbin/lighttpd"
    if unpacked.exists():
        return [str(unpacked), "-m", str(UNPACKED / "usr/lib/lighttpd")]
    found = shutil.which("lighttpd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return [found]
    message = "no lighttpd: install Debian's package, or see .ci/run"
    if os.environ.get("AUTHZ_NEEDS_LIGHTTPD"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def cgi(folder: Path) -> Iterator[int]:
    """Run a CGI server and give its port. It answers with the variables made of the headers."""
    command = _lighttpd()
    folder.mkdir()
    script = folder / "env.cgi"
    script.write_text(SCRIPT.format(python=sys.executable))
    script.chmod(0o700)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        config = folder / "lighttpd.conf"
        config.write_text(CONFIG.format(folder=folder, port=port))
        start = [sys.executable, "-c", START, str(listener.fileno())]
        with subprocess.Popen(
            [*start, *command, "-D", "-f", str(config)], pass_fds=[listener.fileno()]
        ) as child:
            try:
                yield port
            finally:
                child.terminate()


@contextmanager
def wsgi() -> Iterator[int]:
    """Run a WSGI server and give its port. It answers likewise."""

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "application/json")])
        seen = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        return [json.dumps(seen).encode()]

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with make_server("127.0.0.1", 0, answer, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
