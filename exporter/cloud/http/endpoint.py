"""One call of the cloud's API as a value, and the protocol of a client that can make it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A recorded response in tests/fixtures/<generation>/, and the fact or quirk that it pins."""

    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Answer]):
    """One call: its request, why the request has this shape, and the fixtures that pin its responses."""

    name: str
    """Operation name: the value of the label `operation` (bounded), and the name in logs and errors."""
    method: str
    path: str
    """Template with {project_id} and other names."""
    answer: type[Answer]
    """msgspec type of the response body."""
    notes: str
    """Why the request has this shape, with the section of the API reference."""
    fixtures: tuple[Fixture, ...] = ()
    no_fixture_reason: str = ""
    """Required where there is no fixture."""
    in_band_failure: bool = False
    """v1: `is_success: false` may come with any HTTP status, including 200."""
    optional: bool = False
    """The listings of jobs do without it: a refusal switches a collector off, and never holds back the listings."""
    may_be_empty: bool = False
    """204 or an empty body means "not ready yet"; for other endpoints an empty body is an InvalidResponse."""


class Caller(Protocol):
    """Makes the calls of one target: `ApiClient`, or a fake in a test."""

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        """Send one request and decode the response; the implementation fills in {project_id}.

        None only where the endpoint may be empty. Raises CloudError.
        """
        ...


class NoteUnknown(Protocol):
    """Called for each value that is unknown or impossible; such values are counted, and logged once."""

    def __call__(self, field: str, value: object) -> None:
        """`field` is bounded (a wire path such as "v2.status.phase"); `value` is the value received."""
        ...
