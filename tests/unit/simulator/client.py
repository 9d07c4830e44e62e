"""An HTTP client of the simulated cloud, which shares no code with the exporter or the simulator."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from exporter.simulator import ACCESS_KEY, DOMAIN, PASSWORD, PROJECT_ID, SECRET_KEY, USER, Simulator


@dataclass(frozen=True)
class Response:
    """Status, headers, and the body as JSON if it is JSON, else as text."""

    status: int
    body: Any
    headers: Mapping[str, str]


def credentials(**scope: str) -> dict[str, Any]:
    """The body of a token request; without a scope the token is a domain token."""
    user = {"name": USER, "password": PASSWORD, "domain": {"name": DOMAIN}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = {"project": scope}
    return {"auth": auth}


def signed(
    url: str,
    *,
    time: float,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    security_token: str | None = None,
) -> dict[str, str]:
    """Headers that sign a GET without a body."""
    parts = urlsplit(url)
    date = datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-sdk-date": date}
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    digest = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n{parts.path}/\n{parts.query}\n{lines}\nhost;x-sdk-date\n{digest}"
    text = f"SDK-HMAC-SHA256\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"SDK-HMAC-SHA256 Access={access_key}, SignedHeaders=host;x-sdk-date, Signature={signature}"
    token = {"X-Security-Token": security_token} if security_token else {}
    return {"X-Sdk-Date": date, "Authorization": authorization, **token}


class Client:
    """Sends requests with a token of the default project, which it requests itself."""

    def __init__(self, cloud: Simulator) -> None:
        self.cloud = cloud
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        self._token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20,
    ) -> Response:
        """Send one request without credentials."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        url = URL(self.cloud.url + path, encoded=True)
        async with self._session.request(
            method, url, json=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            return Response(response.status, json.loads(text) if is_json else text, response.headers)

    async def token(self) -> str:
        """Return the client's token."""
        if not self._token:
            response = await self.send("POST", "/v3/auth/tokens?nocatalog=true", body=credentials(id=PROJECT_ID))
            self._token = response.headers["X-Subject-Token"]
        return self._token

    async def get(self, path: str) -> Response:
        """GET with the token; {project} stands for the project id."""
        return await self._authorized("GET", path)

    async def post(self, path: str, body: Any = None) -> Response:
        """POST with the token; {project} stands for the project id."""
        return await self._authorized("POST", path, body={} if body is None else body)

    async def delete(self, path: str) -> Response:
        """DELETE with the token; {project} stands for the project id."""
        return await self._authorized("DELETE", path)

    async def search(self, **body: Any) -> Response:
        """Search v2 jobs."""
        return await self.post("/v2/{project}/training-job-searches", body)

    async def _authorized(self, method: str, path: str, *, body: Any = None) -> Response:
        headers = {"X-Auth-Token": await self.token()}
        return await self.send(method, path.replace("{project}", PROJECT_ID), body=body, headers=headers)

    async def get_signed(self, path: str, *, time: float, **how: Any) -> Response:
        """GET with a signature; {project} stands for the project id, `how` is as for `signed`."""
        path = path.replace("{project}", PROJECT_ID)
        return await self.send("GET", path, headers=signed(self.cloud.url + path, time=time, **how))
