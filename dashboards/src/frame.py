"""What boards share: which variables stand at the top in which order, and how a table names a job."""

from . import link, variable
from .panel import Column
from .promql import Scope
from .variable import Variable

WHO = (
    Column(title="Job", label="job_name", link=link.to_job_of_row(), width=190),
    Column(title="User", label="user"),
    Column(title="Project", label="project"),
    Column(title="Pool", label="pool_id"),
    Column(title="job_id", label="job_id", hidden=True),
)
"""The columns of a table of jobs that say which job a row is. The id keeps its name, because the links read it."""


def variables(
    scope: Scope, *, scrape_shown: bool = False, one_job: bool = False, dedicated: bool = False
) -> list[Variable]:
    """List the variables of a scope, each narrowed by those before it; `dedicated` offers no public pool."""
    found = [variable.datasource(), *variable.scrape(shown=scrape_shown)]
    if "project" in scope.variables:
        found.append(variable.project())
    if "pool" in scope.variables:
        found.append(variable.dedicated_pool() if dedicated else variable.pool())
    if "user" in scope.variables:
        found.append(variable.user(scope))
    if "training_job" in scope.variables:
        found.append(variable.training_job(scope, single=one_job))
    return found
