"""A request as a value: what is signed is what is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from yarl import URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request without its credential. `path` and `query` are percent-encoded and go out verbatim."""

    operation: str
    """Bounded name of the call, for labels, logs and errors."""
    method: str
    base: str
    """Scheme, host and port, perhaps a path prefix; no slash at the end."""
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers to be signed beside Host; what an HTTP library adds later stays unsigned (trap 29)."""
    body: bytes = field(default=b"", repr=False)

    @property
    def url(self) -> URL:
        """The address, with nothing left for the HTTP library to encode again."""
        return URL(f"{self.base}{self.path}{f'?{self.query}' if self.query else ''}", encoded=True)

    @property
    def host(self) -> str:
        """The Host header: with the port where it is not the scheme's own (trap 29)."""
        return self.url.host_port_subcomponent or ""


def segment(text: str) -> str:
    """Percent-encode everything but unreserved characters: a space is %20, never "+" (API reference §9.2)."""
    return quote(text, safe="")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Fill a path template with encoded segments. Raises KeyError when a name is missing."""
    return template.format_map({name: segment(value) for name, value in values.items()})


def query_text(values: Mapping[str, str]) -> str:
    """Sort and encode a query, as the signature demands and the wire then carries (API reference §9.2)."""
    return "&".join(f"{segment(name)}={segment(value)}" for name, value in sorted(values.items()))
