"""JSON Schemas of Kubernetes' own kinds and of CRDs, as kubeconform reads them, out of Go modules.

The API server's OpenAPI documents are those that ``kubectl-validate`` carries; the CRDs are those
of the projects. They are made strict: a key that no schema names is an error.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from mesh.support.go_modules import GoModule, locked

ROOT: Final = Path(__file__).parents[3]
LOCK: Final = ROOT / "requirements" / "mesh" / "deploy" / "schemas.sum"
# How kubeconform finds a file: for Kubernetes' core group, Group is the version too.
TEMPLATE: Final = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"
_KUBERNETES: Final = "sigs.k8s.io/kubectl-validate"
_OPENAPI: Final = "pkg/openapiclient/builtins/1.32"
# Of the other modules, the files with CRDs.
_CRDS: Final = {
    "istio.io/api": "kubernetes/customresourcedefinitions.gen.yaml",
    "github.com/envoyproxy/gateway": "charts/gateway-helm/charts/crds/crds/generated/*.yaml",
    "sigs.k8s.io/gateway-api": "config/crd/standard/*.yaml",
    "github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd/*.yaml",
    "github.com/spiffe/spire-controller-manager": "config/crd/bases/*.yaml",
    "github.com/cert-manager/cert-manager": "deploy/crds/*.yaml",
    "github.com/cert-manager/trust-manager": "deploy/crds/*.yaml",
}
_BESIDE: Final = {"allOf", "anyOf", "oneOf", "not"}
Schema = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """YAML whose ``=`` is a text, as Go reads it."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


def schemas_folder() -> Path:
    """Return the folder of the schemas, made once for each state of the lock and of this file."""
    state = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    folder = ROOT / ".venv-mesh" / f"schemas-{state}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        for module in locked(LOCK):
            for name, schema in _of_module(module):
                (made / name).write_text(json.dumps(schema))
        _move(made, folder)
    return folder


def strict(schema: Any) -> Any:
    """Return an OpenAPI schema as JSON Schema that takes no key which it doesn't name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {key: _strict_member(key, value) for key, value in schema.items()}
    if isinstance(kept.get("$ref"), str):
        kept["$ref"] = kept["$ref"].replace("#/components/schemas/", "#/definitions/")
    if kept.pop("nullable", False) and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in kept and not open_ended:
        kept.setdefault("additionalProperties", False)
    return kept


def _strict_member(key: str, value: Any) -> Any:
    if key in {"properties", "definitions"}:
        return {name: strict(each) for name, each in value.items()}
    # Within these, a schema adds to the one around it, so it closes nothing.
    return (
        value if key in {"allOf", "anyOf", "oneOf", "not"} and not _refers(value) else strict(value)
    )


def _refers(value: Any) -> bool:
    return "$ref" in json.dumps(value)


def _of_module(module: GoModule) -> Iterator[tuple[str, Schema]]:
    folder = module.folder()
    if module.path == _KUBERNETES:
        for file in sorted((folder / _OPENAPI).rglob("*.json")):
            yield from _of_openapi(file)
        return
    for file in sorted(folder.glob(_CRDS[module.path])):
        for document in yaml.load_all(file.read_text(), _Loader):
            if document and document.get("kind") == "CustomResourceDefinition":
                yield from _of_crd(document["spec"])


def _of_openapi(file: Path) -> Iterator[tuple[str, Schema]]:
    schemas = json.loads(file.read_text())["components"]["schemas"]
    definitions = f"definitions_{file.parent.name}_{file.stem}.json"
    yield definitions, {"definitions": {name: strict(each) for name, each in schemas.items()}}
    for name, schema in schemas.items():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) == 1:  # others are of every group, such as DeleteOptions
            (kind,) = kinds
            yield (
                _name(kind["group"] or kind["version"], kind["version"], kind["kind"]),
                {"$ref": f"{definitions}#/definitions/{name}"},
            )


def _of_crd(spec: Schema) -> Iterator[tuple[str, Schema]]:
    for version in spec["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        known = schema["properties"] | {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
        yield (
            _name(spec["group"], version["name"], spec["names"]["kind"]),
            strict(schema | {"properties": known}),
        )


def _name(group: str, version: str, kind: str) -> str:
    return f"{group}_{version}_{kind.lower()}.json"


def _move(made: Path, folder: Path) -> None:
    """Rename the folder; another run may have made it meanwhile."""
    try:
        made.rename(folder)
    except OSError:
        shutil.rmtree(made)
        if not folder.exists():
            raise
