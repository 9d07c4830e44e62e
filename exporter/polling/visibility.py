"""How jobs are shown: filters hide a job's series, and the user label can be kept, hashed or dropped."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from exporter.domain.job import Job

_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """How one project's jobs are shown. The defaults show everything."""

    shows: Callable[[Job], bool] = lambda _: True
    """Whether a job has series of its own. Called with the unmasked job; aggregates count every job."""
    user_label: Literal["keep", "hash", "drop"] = "keep"

    def mask_job(self, job: Job) -> Job:
        """Return the job with its user masked."""
        return job if self.user_label == "keep" or not job.user else replace(job, user=self.mask_user(job.user))

    def mask_user(self, user: str) -> str:
        """Return a user's name as it is shown; hashes of different names differ, an empty name stays empty."""
        if self.user_label == "keep" or not user:
            return user
        if self.user_label == "drop":
            return ""
        return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
