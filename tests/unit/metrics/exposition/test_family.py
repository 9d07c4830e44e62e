"""What a declaration of a family may say, and by which names its samples go."""

from typing import Any

import pytest

from exporter.metrics.exposition.family import Family, Label, Type


def declare(**changes: Any) -> Family[None]:
    """Declare a family that is right but for the changes."""
    right: dict[str, Any] = {
        "name": "modelarts_thing_seconds",
        "help": "How long.",
        "type": Type.GAUGE,
        "subject": "job",
        "source": "own",
    }
    return Family(**(right | changes))


@pytest.mark.parametrize(
    "changes, complaint",
    [
        pytest.param({"name": "Modelarts-Thing"}, "not a family name", id="characters"),
        pytest.param({"name": "modelarts_thing_total"}, "reserves", id="reserved suffix"),
        pytest.param({"name": "modelarts_thing_info", "type": Type.INFO}, "reserves", id="info suffix"),
        pytest.param({"help": "How long"}, "must be a sentence", id="help without a full stop"),
        pytest.param({"unit": "ratio"}, "must end in it", id="unit that the name does not end in"),
        pytest.param({"buckets": (1.0,)}, "only they, have buckets", id="gauge with buckets"),
        pytest.param({"type": Type.HISTOGRAM}, "only they, have buckets", id="histogram without buckets"),
        pytest.param({"type": Type.HISTOGRAM, "buckets": (2.0, 1.0)}, "rising", id="falling buckets"),
        pytest.param({"distributions": lambda _: ()}, "only they, give distributions", id="gauge that distributes"),
        pytest.param(
            {"type": Type.HISTOGRAM, "buckets": (1.0,), "samples": lambda _: ()},
            "only they, give distributions",
            id="histogram with samples",
        ),
        pytest.param({"labels": (Label(name="job", help="?"),)}, "belong to Prometheus", id="label job"),
        pytest.param({"labels": (Label(name="task", help="?"),) * 2}, "repeat", id="label twice"),
    ],
)
def test_a_declaration_that_breaks_a_rule_is_refused(changes: dict[str, Any], complaint: str) -> None:
    """A family against the rules of OpenMetrics or of this project cannot be declared."""
    with pytest.raises(ValueError, match=complaint):
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
def test_the_type_decides_how_samples_are_called(kind: Type, exposed: str, samples: tuple[str, ...]) -> None:
    """Counters gain `_total`, infos `_info`, histograms their three suffixes."""
    family = declare(name="modelarts_thing", type=kind, buckets=(1.0,) if kind is Type.HISTOGRAM else ())

    assert family.exposed_name == exposed
    assert family.sample_names == samples
