"""What all boards share: which variables stand at the top, in which order."""

from . import variable
from .promql import Scope
from .variable import Variable


def variables(scope: Scope, *, scrape_shown: bool = False, one_job: bool = False) -> list[Variable]:
    """List the variables of a scope, each narrowed by those before it."""
    found = [variable.datasource(), *variable.scrape(shown=scrape_shown)]
    if "project" in scope.variables:
        found.append(variable.project())
    if "pool" in scope.variables:
        found.append(variable.pool())
    if "user" in scope.variables:
        found.append(variable.user(scope))
    if "training_job" in scope.variables:
        found.append(variable.training_job(scope, single=one_job))
    return found
