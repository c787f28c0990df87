"""Where the command ``authz`` begins: what must be said to gRPC before it is loaded."""

import os
from typing import Final

# gRPC's newer way to accept connections costs a fifth more CPU a check (docs/performance.md). Not
# depended on: a gRPC that does not know the name ignores it, and an operator's own value stays.
_EXPERIMENTS: Final = ("GRPC_EXPERIMENTS", "-event_engine_listener")


def main() -> int:
    """Run the command; its exit status."""
    os.environ.setdefault(*_EXPERIMENTS)
    from authz import cli  # noqa: PLC0415 - loads gRPC, which reads the environment then

    return cli.main()


if __name__ == "__main__":
    raise SystemExit(main())
