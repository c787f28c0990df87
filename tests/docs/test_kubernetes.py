"""The manifests of the docs fit the image, the config in them, and each other."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from authz.config import load_text

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "howto" / "kubernetes.md").read_text()
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
BEFORE_THE_KERNEL_SECONDS: Final = 17  # after server.drain, as docs/howto/operate.md says


def manifest(kind: str) -> dict[str, Any]:
    """The page's manifest of a kind."""
    found = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    (one,) = [each for each in found if each.get("kind") == kind]
    return dict(one)


def test_the_config_is_where_the_image_looks() -> None:
    """The ConfigMap has a valid config, by the name and in the folder of the image's command."""
    ((name, text),) = manifest("ConfigMap")["data"].items()
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    config = load_text(text.encode(), name)

    assert f'CMD ["serve", "{mounts["config"]}/{name}"]' in DOCKERFILE
    (listen,) = config.server.listen
    assert str(Path(listen.removeprefix("unix:")).parent) == mounts["socket"]
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    grace = pod["terminationGracePeriodSeconds"]
    assert grace >= config.server.drain + BEFORE_THE_KERNEL_SECONDS


def test_the_user_is_the_images() -> None:
    """The pod runs as the user of the image, who owns the folder of the socket."""
    context = manifest("Deployment")["spec"]["template"]["spec"]["securityContext"]

    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in DOCKERFILE
    assert context["fsGroup"] == context["runAsGroup"]
