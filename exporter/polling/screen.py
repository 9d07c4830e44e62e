"""What the settings let be shown of a job: filters hide it, the user label can be hashed or dropped."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from exporter.domain.job import Job

_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """One project's view of its jobs; patterns must match the whole name. The defaults show everything."""

    names: re.Pattern[str] | None = None
    """Only jobs whose name matches are shown; None: all."""
    exclude_names: re.Pattern[str] | None = None
    """Jobs whose name matches are hidden; None: none."""
    pools: Collection[str] = ()
    """Only these pools, by id; empty: all."""
    users: Collection[str] = ()
    """Only these users, by the name the cloud gives; empty: all."""
    user_label: Literal["keep", "hash", "drop"] = "keep"

    def shows(self, job: Job) -> bool:
        """Whether the job has series of its own; aggregates count it either way."""
        return (
            (self.names is None or self.names.fullmatch(job.name) is not None)
            and (self.exclude_names is None or self.exclude_names.fullmatch(job.name) is None)
            and (not self.pools or job.pool_id in self.pools)
            and (not self.users or job.user in self.users)
        )

    def veil(self, job: Job) -> Job:
        """Return the job with its user as the settings want it shown."""
        if self.user_label == "keep" or not job.user:
            return job
        if self.user_label == "drop":
            return replace(job, user="")
        digest = hashlib.sha256(job.user.encode("utf-8", "surrogatepass")).hexdigest()
        return replace(job, user=digest[:_HASH_DIGITS])
