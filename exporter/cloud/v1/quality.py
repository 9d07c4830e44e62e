"""Model quality of built-in algorithms: the totals of `model_metric_list` (API reference §6.4)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from exporter.cloud.decode.text_in_text import wrapped_object
from exporter.cloud.decode.values import json_object, quantity
from exporter.cloud.http.endpoint import NoteUnknown

_FIELD = "v1.model_metric_list"
_MEASURES = {
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "f1_score": "f1",
    "f1": "f1",
}


class _ModelMetrics(msgspec.Struct, kw_only=True):
    """Decoding drops per-class values (unbounded in number) and `images_outputs` (may be large)."""

    total_metric: Any = None


def quality(raw: msgspec.Raw, *, note: NoteUnknown) -> Mapping[str, float]:
    """Read the totals by measure as ratios 0-1; values out of range are noted and left out.

    Empty for jobs without totals, which are all jobs that do not use a built-in algorithm.
    """
    metrics = wrapped_object(raw, _ModelMetrics, field=_FIELD, note=note)
    if metrics is None:
        return {}
    totals = metrics.total_metric
    if isinstance(totals, list):  # documented as JSON in one place and as JSON Array in another
        totals = totals[0] if totals else None
    total = json_object(totals, field=_FIELD, note=note) or {}
    values = json_object(total.get("total_metric_values"), field=_FIELD, note=note) or {}
    ratios: dict[str, float] = {}
    for key, measure in _MEASURES.items():
        value = quantity(values.get(key), field=_FIELD, note=note)
        if value is None or measure in ratios:
            continue
        if value > 1:
            note(_FIELD, value)
            continue
        ratios[measure] = value
    return ratios
