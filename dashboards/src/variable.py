"""The choices at the top of a board, each narrowed by those before it."""

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from .promql import BUILD_INFO, INFO, Scope

Variable = Builder[model.VariableModel]

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

_EVERYTHING = model.VariableOption(selected=True, text=["All"], value=["$__all"])
_SCRAPE = Scope()


def datasource() -> Variable:
    """Choose the Prometheus."""
    return builder.DatasourceVariable("datasource").label("Data source").type("prometheus")


def scrape(*, shown: bool) -> list[Variable]:
    """Choose the cluster, and the scrape job and instance of the exporter.

    The last two are hidden where replicas are folded anyway; a link can still set them.
    """
    cluster = _many("cluster", f"label_values({BUILD_INFO}, cluster)", all_value=".*").label("Cluster")
    job = _many("job", f'label_values({BUILD_INFO}{{cluster=~"$cluster"}}, job)', all_value=".+").label("Job")
    instance = _many(
        "instance", f'label_values({BUILD_INFO}{{cluster=~"$cluster", job=~"$job"}}, instance)', all_value=".+"
    ).label("Instance")
    if not shown:
        job.hide(model.VariableHide.HIDE_VARIABLE)
        instance.hide(model.VariableHide.HIDE_VARIABLE)
    return [
        cluster.description("External label `cluster` of your Prometheus; without one there is nothing to choose."),
        job.description("Prometheus' own label `job` of the exporter, not a training job."),
        instance.description("Exporter; several that watch one project count once."),
    ]


def project() -> Variable:
    """Choose among the targets of the exporters."""
    query = f"label_values({_SCRAPE.series('modelarts_up')}, project)"
    return _many("project", query, all_value=".+").label("Project").description("Target of the exporter.")


def pool() -> Variable:
    """Choose among pools.

    The public pool has an empty label, which no list of label values contains. So the list is computed: its choice
    reads `public` and stands for a pattern that only the empty value matches.
    """
    jobs = Scope(frozenset({"project"})).series("modelarts_training_jobs")
    named = f'label_replace(label_replace({jobs}, "text", "public", "pool_id", ""), "value", "^", "pool_id", "")'
    rest = f'label_replace(label_replace({named}, "text", "$1", "pool_id", "(.+)"), "value", "$1", "pool_id", "(.+)")'
    return (
        _many("pool", f"query_result(count by (text, value) ({rest}))", all_value=".*")
        .regex('/text="(?<text>[^"]+)".*value="(?<value>[^"]+)"/')
        .label("Pool")
        .description("Dedicated pools by id, and the public one.")
    )


def dedicated_pool() -> Variable:
    """Choose among dedicated pools, by name and id: also those in which no job runs."""
    info = Scope(frozenset({"project"})).series("modelarts_pool_info")
    text = f'label_join({info}, "text", " ", "pool_name", "pool_id")'
    value = f'label_replace({text}, "value", "$1", "pool_id", "(.*)")'
    return (
        _many("pool", f"query_result(max by (text, value) ({value}))", all_value=".*")
        .regex('/text="(?<text>[^"]+)".*value="(?<value>[^"]+)"/')
        .label("Pool")
        .description("Dedicated pools by name and id.")
    )


def user(scope: Scope) -> Variable:
    """Choose among those who created jobs."""
    narrowed = Scope(scope.variables & {"project", "pool"})
    query = f"label_values({narrowed.series(INFO)}, user)"
    return _many("user", query, all_value=".*").label("User").description("Who created the job.")


def training_job(scope: Scope, *, single: bool) -> Variable:
    """Choose among jobs by name; the value is the id, because names are not unique.

    Jobs that have vanished within the chosen time are offered too.
    """
    narrowed = Scope(scope.variables & {"project", "pool", "user"})
    info = f"last_over_time({narrowed.series(INFO, over='$__range')})"
    query = f'query_result(max by (job_id, text) (label_join({info}, "text", " ", "job_name", "version")))'
    variable = (
        (_query("training_job", query) if single else _many("training_job", query, all_value=".+"))
        .regex('/job_id="(?<value>[^"]+)".*text="(?<text>[^"]+)"/')
        .label("Training job")
    )
    return variable.description("By name, and by version for the old generation of the API.")


def choice(name: str, *, label: str, description: str, options: dict[str, str], default: str) -> Variable:
    """Choose among fixed values: text to value."""
    return (
        builder.CustomVariable(name)
        .label(label)
        .description(description)
        .values(", ".join(f"{text} : {value}" for text, value in options.items()))
        .options([model.VariableOption(selected=text == default, text=text, value=options[text]) for text in options])
        .current(model.VariableOption(selected=True, text=default, value=options[default]))
    )


def _query(name: str, query: str) -> builder.QueryVariable:
    return (
        builder.QueryVariable(name)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


def _many(name: str, query: str, *, all_value: str) -> builder.QueryVariable:
    """Several at once, or all: what matches `all_value`, which for labels that can be empty is anything."""
    return (
        _query(name, query).multi(multi=True).include_all(include_all=True).all_value(all_value).current(_EVERYTHING)
    )
