"""Checks manifests against the schemas of Kubernetes and of the Prometheus Operator."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from tests.chart.chart import Json

_OPERATOR = yaml.safe_load((Path(__file__).parent / "operator.yaml").read_text(encoding="utf-8"))["kinds"]


def check(manifest: Json, *, kubernetes: str) -> None:
    """Check a manifest against the schema of its kind; unknown fields are refused.

    Raises jsonschema.ValidationError, and KeyError for an unknown kind.
    """
    _check(json.dumps(manifest, sort_keys=True), kubernetes)


@cache  # many installs share their ServiceAccount or Service
def _check(text: str, kubernetes: str) -> None:
    manifest = json.loads(text)
    try:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        jsonschema.validate(manifest, _OPERATOR[manifest["kind"]], cls=jsonschema.Draft7Validator)
