"""A call of the cloud's API as a value, and the protocol of whoever can make it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A recorded answer in tests/fixtures/<generation>/, and the fact or quirk it pins."""

    file: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Answer]):
    """One call: its shape, why it has that shape, and the fixtures that pin what comes back."""

    name: str
    """Operation name: a bounded label value, and the word used in logs and errors."""
    method: str
    path: str
    """Template with {project_id} and further names."""
    answer: type[Answer]
    """msgspec type the body decodes to."""
    notes: str
    """Why the call has this shape, with the section of the API reference."""
    fixtures: tuple[Fixture, ...] = ()
    no_fixture_reason: str = ""
    """Required where there is no fixture: a gap must be claimed."""
    in_band_failure: bool = False
    """v1: `is_success: false` may come with any HTTP status, 200 included."""
    may_be_empty: bool = False
    """204 or an empty body is an answer ("not ready yet"); elsewhere an empty body is unintelligible."""


class Caller(Protocol):
    """Whoever can make a call for one target: the transport, or a fake in a test."""

    async def call(
        self,
        endpoint: Endpoint[Answer],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer | None:
        """Send one request and decode its answer; {project_id} is filled in by the caller.

        None only where the endpoint may be empty. Raises CloudError.
        """
        ...


class NoteUnknown(Protocol):
    """Told each time the cloud used a value we do not know, or one that cannot be; counted, and logged once."""

    def __call__(self, field: str, value: object) -> None:
        """`field` is bounded (a wire path such as "v2.status.phase"); `value` is what came."""
        ...
