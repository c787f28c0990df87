"""An issuer that rotates and goes away all the time, through the real Envoy, in short."""

from pathlib import Path

import pytest

from lab.mesh import Mesh
from lab.storm import COOLDOWN_SECONDS, Record, Storm, run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What happened in it."""
    storm = Storm(18, rate=100, rotate_every=2, away_of=(2, 6), made_up_rate=300)
    with Mesh(Path(tmp_path_factory.mktemp("storm"))) as mesh:
        return run(mesh, storm)


def test_there_was_a_storm(record: Record) -> None:
    """Keys came and went, the issuer was away, and both kinds of answers were given."""
    assert len(record.published) > 4
    assert len(record.removed) > 2
    assert len(record.away) > 1
    assert record.made_up > 500
    assert {one.status for one in record.sent} >= {200, 401}
    assert sum(one.status == 200 for one in record.sent) > 100


def test_nothing_is_refused_that_could_be_known(record: Record) -> None:
    """A token is refused only while its key can't be fetched; new keys work on first use."""
    assert record.wrongly_refused() == []


def test_the_issuer_is_left_alone(record: Record) -> None:
    """Whatever is asked for, a cooldown sees one fetch on schedule and one for unknown keys."""
    begun = min(one.at for one in record.sent)
    cooldowns = (max(record.fetches) - begun) / COOLDOWN_SECONDS + 1

    assert len(record.fetches) <= 2 * cooldowns


def test_known_keys_wait_for_no_fetch(record: Record) -> None:
    """Requests with known keys are answered while others wait for the issuer."""
    assert len(record.known_key()) > 50
    # None, if they waited: a fetch's end is noted before the server can have its keys.
    assert len(record.meanwhile()) > 3
