"""A bare HTTP client of the simulated cloud, which shares nothing with the exporter either."""

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
class Answer:
    """Status, headers, and the body as JSON where it is JSON, else as text."""

    status: int
    body: Any
    headers: Mapping[str, str]


def credentials(**scope: str) -> dict[str, Any]:
    """The body that asks IAM for a token; without a scope the token is for the domain."""
    user = {"name": USER, "password": PASSWORD, "domain": {"name": DOMAIN}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = {"project": scope}
    return {"auth": auth}


def signed(  # every part of a signature can be bent by some test
    url: str,
    *,
    time: float,
    method: str = "GET",
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    security_token: str | None = None,
    body: bytes = b"",
) -> dict[str, str]:
    """Headers that sign a request without query parameters."""
    parts = urlsplit(url)
    date = datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-sdk-date": date}
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"{method}\n{parts.path}/\n{parts.query}\n{lines}\nhost;x-sdk-date\n{digest}"
    text = f"SDK-HMAC-SHA256\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"SDK-HMAC-SHA256 Access={access_key}, SignedHeaders=host;x-sdk-date, Signature={signature}"
    token = {"X-Security-Token": security_token} if security_token else {}
    return {"X-Sdk-Date": date, "Authorization": authorization, **token}


class Visitor:
    """Asks with a token of the default project, which it fetches by itself."""

    def __init__(self, cloud: Simulator, *, project: str = PROJECT_ID) -> None:
        self.cloud = cloud
        self.project = project
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        self._token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send one request as it is, without credentials."""
        timeout = aiohttp.ClientTimeout(total=timeout_s) if timeout_s else aiohttp.ClientTimeout(total=20)
        url = URL(self.cloud.url + path, encoded=True)
        async with self._session.request(
            method, url, json=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    async def token(self) -> str:
        """Return the visitor's token."""
        if not self._token:
            answer = await self.ask("POST", "/v3/auth/tokens?nocatalog=true", body=credentials(id=self.project))
            self._token = answer.headers["X-Subject-Token"]
        return self._token

    async def get(self, path: str) -> Answer:
        """GET with the token; {project} stands for the project id."""
        return await self._authorised("GET", path)

    async def post(self, path: str, body: Any = None) -> Answer:
        """POST with the token; {project} stands for the project id."""
        return await self._authorised("POST", path, body=body if body is not None else {})

    async def delete(self, path: str) -> Answer:
        """DELETE with the token; {project} stands for the project id."""
        return await self._authorised("DELETE", path)

    async def search(self, **body: Any) -> Answer:
        """Search v2 jobs."""
        return await self.post("/v2/{project}/training-job-searches", body)

    async def _authorised(self, method: str, path: str, *, body: Any = None) -> Answer:
        headers = {"X-Auth-Token": await self.token()}
        return await self.ask(method, path.replace("{project}", self.project), body=body, headers=headers)


def ids(answer: Answer) -> list[str]:
    """Job ids of a page of the search."""
    return [item["metadata"]["id"] for item in answer.body["items"]]
