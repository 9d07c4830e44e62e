"""An HTTP request as a value: the bytes that are signed are the bytes that are sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from yarl import URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request without its credential. `path` and `query` are percent-encoded and sent unchanged."""

    operation: str
    """Bounded name of the call, for labels, logs and errors."""
    method: str
    base: str
    """Scheme, host, port and optional path prefix, without a slash at the end."""
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers to sign in addition to Host. Headers that the HTTP library adds later are not signed (trap 29)."""
    body: bytes = field(default=b"", repr=False)

    @property
    def url(self) -> URL:
        """The URL, already encoded, so that the HTTP library does not encode it again."""
        return URL(f"{self.base}{self.path}{f'?{self.query}' if self.query else ''}", encoded=True)

    @property
    def host(self) -> str:
        """The Host header, with the port unless it is the default port of the scheme (trap 29)."""
        return self.url.host_port_subcomponent or ""


def encode_segment(text: str) -> str:
    """Percent-encode everything but unreserved characters: a space is %20, never "+" (API reference §9.2)."""
    return quote(text, safe="")


def fill_path(template: str, values: Mapping[str, str]) -> str:
    """Fill a path template with encoded segments. Raises KeyError when a name is missing."""
    return template.format_map({name: encode_segment(value) for name, value in values.items()})


def encode_query(values: Mapping[str, str]) -> str:
    """Sort and encode a query; the same text is signed and sent (API reference §9.2)."""
    return "&".join(f"{encode_segment(name)}={encode_segment(value)}" for name, value in sorted(values.items()))
