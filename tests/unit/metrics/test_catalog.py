"""The catalogue: complete, without collisions, and each family documented."""

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

import pytest

from exporter.metrics import catalog, families
from exporter.metrics.catalog import (
    FAMILIES,
    JOB_FAMILIES,
    SELF_METRIC_FAMILIES,
    TASK_FAMILIES,
    by_exposed_name,
    index,
)
from exporter.metrics.exposition.family import Family, Label, Type
from exporter.metrics.families.job import INFO, STATUS
from exporter.metrics.families.project import JOBS, SUBMITTED
from exporter.metrics.families.self_metrics import RENDER_DURATION

MODULES = [info.name for info in iter_modules(families.__path__)]


def declared(module: str) -> Iterator[tuple[str, Family[object]]]:
    """Yield each family that the module declares, after the place of its declaration."""
    loaded = import_module(f"{families.__name__}.{module}")
    for name, value in vars(loaded).items():
        if isinstance(value, Family):
            yield f"{name} ({value.name}) in exporter/metrics/families/{module}.py", value


DECLARATIONS = dict(declaration for module in MODULES for declaration in declared(module))


@pytest.mark.parametrize("module", MODULES)
def test_every_declared_family_is_in_the_catalogue(module: str) -> None:
    """A family that is declared but not exported would never be rendered, and nothing else would show it."""
    own = vars(import_module(f"{families.__name__}.{module}"))
    exported = [family for name, value in own.items() if name.endswith("FAMILIES") for family in value]

    for where, family in declared(module):
        assert family in exported, f"{where} is not exported: add it to FAMILIES in that file"
        assert family in FAMILIES, f"{where} is in no catalogue: collect it in {catalog.__file__}"


@pytest.mark.parametrize("where", DECLARATIONS)
def test_every_family_is_documented(where: str) -> None:
    """Help texts are one line of 60 to 250 characters, each label has a help, and each value has a source."""
    family = DECLARATIONS[where]

    assert "\n" not in family.help, f"{where}: write its help as one line"
    assert 60 < len(family.help) <= 250, f"{where}: its help has {len(family.help)} characters; 61 to 250 are allowed"
    assert family.source, f"{where}: name the source of its value"
    for label in family.labels:
        assert label.help.endswith("."), f"{where}: write the help of its label {label.name} as a sentence"


def test_no_two_families_have_the_same_help() -> None:
    """A copied help text describes at most one of the two families."""
    helps = [family.help for family in FAMILIES]

    assert sorted(helps) == sorted(set(helps))


@pytest.mark.parametrize("family", [*JOB_FAMILIES, *TASK_FAMILIES], ids=lambda family: family.name)
def test_each_family_of_a_job_names_its_source_in_both_generations(family: Family[object]) -> None:
    """The source names the API field of v1 and of v2, or that the generation has none."""
    assert "v1" in family.source, f"{family.name}: its source does not mention v1"
    assert "v2" in family.source, f"{family.name}: its source does not mention v2"


def test_only_self_metrics_are_not_computed_from_a_snapshot() -> None:
    """Families of jobs, projects and pools have a function; self-metrics are instruments."""
    instruments = [family for family in FAMILIES if not (family.samples or family.distributions)]

    assert instruments == list(SELF_METRIC_FAMILIES)
    assert {family.subject for family in SELF_METRIC_FAMILIES} == {"exporter"}


@pytest.mark.parametrize(
    "families",
    [
        pytest.param((STATUS, STATUS), id="the same twice"),
        pytest.param((JOBS, replace(JOBS, type=Type.COUNTER)), id="gauge and counter of one name"),
        pytest.param((INFO, replace(STATUS, name="modelarts_training_job")), id="info and gauge of one name"),
    ],
)
def test_families_with_a_common_name_are_refused(families: tuple[Family[object], ...]) -> None:
    """No parser accepts an exposition with two families under one name."""
    with pytest.raises(ValueError, match="another family has the name"):
        index(families)


def test_a_label_that_is_also_an_identity_label_is_refused() -> None:
    """A family's label with the name of an identity label would appear twice in a sample."""
    twice = replace(STATUS, labels=(Label(name="job_id", help="Again."),))

    with pytest.raises(ValueError, match="identity label"):
        index((twice,))


@pytest.mark.parametrize(
    "name, family",
    [
        pytest.param("modelarts_training_job_info", INFO, id="info"),
        pytest.param("modelarts_training_jobs_submitted_total", SUBMITTED, id="counter"),
        pytest.param("modelarts_exporter_render_duration_seconds", RENDER_DURATION, id="histogram"),
        pytest.param("modelarts_exporter_render_duration_seconds_bucket", RENDER_DURATION, id="its buckets"),
    ],
)
def test_a_query_finds_its_family(name: str, family: object) -> None:
    """Dashboards and alerts look families up by the name in a query."""
    assert by_exposed_name(name) is family


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("modelarts_training_job_npu_utilization_ratio", id="invented"),
        pytest.param("modelarts_training_jobs_submitted", id="counter without its suffix"),
        pytest.param("modelarts_training_jobs_bucket", id="bucket of a gauge"),
    ],
)
def test_a_name_that_is_not_exposed_is_not_found(name: str) -> None:
    """A query with a misspelt name fails instead of showing an empty panel."""
    with pytest.raises(KeyError, match=name):
        by_exposed_name(name)
