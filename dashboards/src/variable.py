"""The variables at the top of a board. Each offers only values that match the variables before it."""

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from .promql import BUILD_INFO, INFO, Scope

Variable = Builder[model.VariableModel]

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

_ALL = model.VariableOption(selected=True, text=["All"], value=["$__all"])
_ALL_PROJECTS = Scope()


def variables(
    scope: Scope, *, scrape_shown: bool = False, one_job: bool = False, dedicated: bool = False
) -> list[Variable]:
    """List the variables of a scope in their order; with `dedicated`, the public pool is not offered."""
    found = [datasource(), *scrape(shown=scrape_shown)]
    if "project" in scope.variables:
        found.append(project())
    if "pool" in scope.variables:
        found.append(dedicated_pool() if dedicated else pool())
    if "user" in scope.variables:
        found.append(user(scope))
    if "training_job" in scope.variables:
        found.append(training_job(scope, single=one_job))
    return found


def datasource() -> Variable:
    """Select the Prometheus data source."""
    return builder.DatasourceVariable("datasource").label("Data source").type("prometheus")


def scrape(*, shown: bool) -> list[Variable]:
    """Select the cluster, and the scrape job and instance of the exporter.

    Job and instance are hidden on boards whose queries deduplicate replicas; a link can still set them.
    """
    cluster = _multi_select("cluster", f"label_values({BUILD_INFO}, cluster)", all_value=".*").label("Cluster")
    job = _multi_select("job", f'label_values({BUILD_INFO}{{cluster=~"$cluster"}}, job)', all_value=".+").label("Job")
    instance = _multi_select(
        "instance", f'label_values({BUILD_INFO}{{cluster=~"$cluster", job=~"$job"}}, instance)', all_value=".+"
    ).label("Instance")
    if not shown:
        job.hide(model.VariableHide.HIDE_VARIABLE)
        instance.hide(model.VariableHide.HIDE_VARIABLE)
    return [
        cluster.description("External label `cluster` of your Prometheus, if it has one."),
        job.description("The label `job` of the exporter's scrape, not a training job."),
        instance.description("Exporter. Several exporters that watch the same project count once."),
    ]


def project() -> Variable:
    """Select targets of the exporters."""
    query = f"label_values({_ALL_PROJECTS.selector('modelarts_up')}, project)"
    return _multi_select("project", query, all_value=".+").label("Project").description("Target of the exporter.")


def pool() -> Variable:
    """Select pools.

    The public pool has an empty label, which `label_values` does not return. So the list is a query result: its
    option `public` has a pattern as its value that only the empty label matches.
    """
    jobs = Scope(frozenset({"project"})).selector("modelarts_training_jobs")
    public = f'label_replace(label_replace({jobs}, "text", "public", "pool_id", ""), "value", "^", "pool_id", "")'
    rest = (
        f'label_replace(label_replace({public}, "text", "$1", "pool_id", "(.+)"), "value", "$1", "pool_id", "(.+)")'
    )
    return (
        _multi_select("pool", f"query_result(count by (text, value) ({rest}))", all_value=".*")
        .regex('/text="(?<text>[^"]+)".*value="(?<value>[^"]+)"/')
        .label("Pool")
        .description("Dedicated pools by id, and the public pool.")
    )


def dedicated_pool() -> Variable:
    """Select dedicated pools by name and id, including pools without jobs."""
    info = Scope(frozenset({"project"})).selector("modelarts_pool_info")
    text = f'label_join({info}, "text", " ", "pool_name", "pool_id")'
    value = f'label_replace({text}, "value", "$1", "pool_id", "(.*)")'
    return (
        _multi_select("pool", f"query_result(max by (text, value) ({value}))", all_value=".*")
        .regex('/text="(?<text>[^"]+)".*value="(?<value>[^"]+)"/')
        .label("Pool")
        .description("Dedicated pools by name and id.")
    )


def user(scope: Scope) -> Variable:
    """Select users who created jobs."""
    narrowed = Scope(scope.variables & {"project", "pool"})
    query = f"label_values({narrowed.selector(INFO)}, user)"
    return _multi_select("user", query, all_value=".*").label("User").description("User who created the job.")


def training_job(scope: Scope, *, single: bool) -> Variable:
    """Select jobs by name; the value is the id, because names are not unique.

    Jobs whose series ended within the selected time range are offered too.
    """
    narrowed = Scope(scope.variables & {"project", "pool", "user"})
    info = f"last_over_time({narrowed.selector(INFO, over='$__range')})"
    query = f'query_result(max by (job_id, text) (label_join({info}, "text", " ", "job_name", "version")))'
    variable = (
        (_query("training_job", query) if single else _multi_select("training_job", query, all_value=".+"))
        .regex('/job_id="(?<value>[^"]+)".*text="(?<text>[^"]+)"/')
        .label("Training job")
    )
    return variable.description("Name of the job, with the version for the v1 API.")


def custom_variable(name: str, *, label: str, description: str, options: dict[str, str], default: str) -> Variable:
    """Select one of fixed values: text to value."""
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


def _multi_select(name: str, query: str, *, all_value: str) -> builder.QueryVariable:
    """Select several values or All. All is the pattern `all_value`; for labels that can be empty it matches all."""
    return _query(name, query).multi(multi=True).include_all(include_all=True).all_value(all_value).current(_ALL)
