"""A Python upstream that says which segments its router found: Starlette behind uvicorn.

Run as a program with the name of a file, into which it writes its port.
"""

import socket
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

MAX_SEGMENTS = 12


async def _found(request: Request) -> JSONResponse:
    segments = list(request.path_params.values())
    if not segments or request.scope["path"].endswith("/"):
        segments.append("")
    return JSONResponse({"raw": request.scope["raw_path"].decode("ascii"), "segments": segments})


def _routes() -> list[Route]:
    names = [f"{{s{number}}}" for number in range(MAX_SEGMENTS)]
    paths = ["/" + "/".join(names[:count]) for count in range(1, MAX_SEGMENTS + 1)]
    return [Route("/", _found), *(Route(p + end, _found) for p in paths for end in ("", "/"))]


def _serve(port_file: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections have it too
    port_file.write_text(str(listener.getsockname()[1]))
    config = uvicorn.Config(Starlette(routes=_routes()), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
