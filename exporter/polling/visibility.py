"""What the settings let be shown of a job: filters hide it, the user label can be hashed or dropped."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from exporter.domain.job import Job

_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """One project's view of its jobs. The defaults show everything."""

    shows: Callable[[Job], bool] = lambda _: True
    """Whether a job has series of its own, asked of the job as the cloud tells it; aggregates count it either way."""
    user_label: Literal["keep", "hash", "drop"] = "keep"

    def mask_user(self, job: Job) -> Job:
        """Return the job with its user as the settings want it shown."""
        return job if self.user_label == "keep" or not job.user else replace(job, user=self.veiled(job.user))

    def veiled(self, user: str) -> str:
        """Return a user's name as the settings want it shown; a hash still tells users apart. Nobody stays nobody."""
        if self.user_label == "keep" or not user:
            return user
        if self.user_label == "drop":
            return ""
        return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
