"""A Keycloak, a realm made by the how-to's commands, and the how-to's config behind an Envoy."""

import shutil
from collections.abc import Iterator

import pytest

from lab.keycloak import Keycloak, Realm
from lab.mesh import Mesh
from support.keycloak_howto import USER, Howto, Proxy, commands, serve


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A running Keycloak."""
    running = Keycloak(tmp_path_factory.mktemp("keycloak"))
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def realm(keycloak: Keycloak) -> Realm:
    """The realm of the how-to, before its first command: a user is in it."""
    corp = Realm(keycloak, "corp").create()
    corp.add_user(USER)
    return corp


@pytest.fixture(scope="session")
def howto(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Howto]:
    """The how-to, whose first commands were run."""
    folder = tmp_path_factory.mktemp("kcadm")
    page = Howto(realm, folder)
    page.run(commands()[0])
    yield page
    shutil.rmtree(folder)  # kcadm.sh keeps a token there, which is no leak of ours


@pytest.fixture(scope="session")
def corp(realm: Realm, howto: Howto) -> Realm:  # noqa: ARG001 - it made the clients
    """The realm with the how-to's clients."""
    return realm


@pytest.fixture(scope="session")
def proxy(mesh: Mesh, howto: Howto) -> Iterator[Proxy]:
    """The how-to's config, behind an Envoy."""
    running = serve(mesh, "mapped", howto.config())
    try:
        yield running
    finally:
        running.envoy.stop()
