"""The fuzzer's targets driven by coverage (atheris): ``make fuzz-guided``.

An argument names the target, or is --list; further ones are libFuzzer's, as -max_total_time=60.
"""

import logging
import sys
import tempfile
from pathlib import Path

import atheris
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with atheris.instrument_imports(include=["authz"]):
    from fuzz.targets import CHANGES, TARGETS, Lab
    from support.world import World


def main() -> None:
    """Fuzz one target until something is found or the time is over."""
    name = sys.argv.pop(1)
    if name == "--list":
        print(*TARGETS)
        return
    logging.disable()
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), CHANGES) as world:
        lab = Lab.of(world)

        @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def examples(data: st.DataObject) -> None:
            TARGETS[name](lab, data.draw)

        # Inputs grow to no length by and by: an example takes hundreds of bytes to mean anything.
        arguments = [sys.argv[0], "-len_control=0", *sys.argv[1:]]
        atheris.Setup(arguments, examples.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]
        atheris.Fuzz()


if __name__ == "__main__":
    main()
