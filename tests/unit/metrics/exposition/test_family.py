"""Declarations of families: which are refused, and which names their samples have."""

from typing import Any

import pytest

from exporter.metrics.exposition.family import Family, Label, Type


def declare(**changes: Any) -> Family[None]:
    """Declare a family that is valid except for the changes."""
    valid: dict[str, Any] = {
        "name": "modelarts_thing_seconds",
        "help": "How long.",
        "type": Type.GAUGE,
        "subject": "job",
        "source": "own",
    }
    return Family(**(valid | changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        pytest.param({"name": "Modelarts-Thing"}, "not a family name", id="characters"),
        pytest.param({"name": "modelarts_thing_total"}, "reserved", id="reserved suffix"),
        pytest.param({"name": "modelarts_thing_info", "type": Type.INFO}, "reserved", id="info suffix"),
        pytest.param({"help": "How long"}, "must end with a full stop", id="help without a full stop"),
        pytest.param({"unit": "ratio"}, "must end with it", id="unit that is not the end of the name"),
        pytest.param({"buckets": (1.0,)}, "exactly histograms have buckets", id="gauge with buckets"),
        pytest.param({"type": Type.HISTOGRAM}, "exactly histograms have buckets", id="histogram without buckets"),
        pytest.param({"type": Type.HISTOGRAM, "buckets": (2.0, 1.0)}, "ascending", id="descending buckets"),
        pytest.param(
            {"distributions": lambda _: ()}, "exactly histograms have distributions", id="distributions of a gauge"
        ),
        pytest.param(
            {"type": Type.HISTOGRAM, "buckets": (1.0,), "samples": lambda _: ()},
            "exactly histograms have distributions",
            id="histogram with samples",
        ),
        pytest.param({"labels": (Label(name="job", help="?"),)}, "reserved by Prometheus", id="label job"),
        pytest.param({"labels": (Label(name="task", help="?"),) * 2}, "repeated", id="label twice"),
    ],
)
def test_an_invalid_declaration_is_refused(changes: dict[str, Any], message: str) -> None:
    """A family that violates OpenMetrics or a rule of this project cannot be declared."""
    with pytest.raises(ValueError, match=message):
        declare(**changes)


@pytest.mark.parametrize(
    "kind, exposed, samples",
    [
        pytest.param(Type.GAUGE, "modelarts_thing", ("modelarts_thing",), id="gauge"),
        pytest.param(Type.COUNTER, "modelarts_thing_total", ("modelarts_thing_total",), id="counter"),
        pytest.param(Type.INFO, "modelarts_thing_info", ("modelarts_thing_info",), id="info"),
        pytest.param(
            Type.HISTOGRAM,
            "modelarts_thing",
            ("modelarts_thing_bucket", "modelarts_thing_count", "modelarts_thing_sum"),
            id="histogram",
        ),
    ],
)
def test_the_type_determines_the_names_of_samples(kind: Type, exposed: str, samples: tuple[str, ...]) -> None:
    """Counters have the suffix `_total`, infos `_info`, histograms their three suffixes."""
    family = declare(name="modelarts_thing", type=kind, buckets=(1.0,) if kind is Type.HISTOGRAM else ())

    assert family.exposed_name == exposed
    assert family.sample_names == samples
