"""The office's side of the platform over HTTP, as a person of the local issuer: tokens, calls, named refusals.

Used by `zb import` and by the play. It knows paths and bodies, no rules.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

TIMEOUT_S: Final = 60.0
RENEW_BEFORE_S: Final = 30.0


class Refused(Exception):
    """A service refused; `problem` is its RFC 9457 document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        super().__init__(f"{self.problem.get('code', status)}: {self.problem.get('detail', '')}")

    @property
    def code(self) -> str:
        return str(self.problem.get("code", ""))


class Person:
    """Somebody with a name and a password at the issuer; every call carries a fresh bearer token."""

    def __init__(self, issuer: str, name: str, password: str) -> None:
        self.name = name
        self._issuer = issuer
        self._password = password
        self._token = ""
        self._expires = 0.0
        self._http = httpx.Client(timeout=TIMEOUT_S)

    def call(self, method: str, url: str, **arguments: Any) -> Any:
        """The JSON of the answer (None for an empty one). Refused for every problem document."""
        headers = {**arguments.pop("headers", {}), "Authorization": f"Bearer {self._bearer()}"}
        return self._answer(self._http.request(method, url, headers=headers, **arguments))

    def get(self, url: str, **query: Any) -> Any:
        return self.call("GET", url, params=query)

    def post(self, url: str, body: object) -> Any:
        return self.call("POST", url, json=body)

    def put(self, url: str, body: object) -> Any:
        return self.call("PUT", url, json=body)

    def post_csv(self, url: str, data: bytes, **query: str) -> Any:
        return self.call("POST", url, content=data, params=query, headers={"Content-Type": "text/csv"})

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _bearer(self) -> str:
        if time.monotonic() > self._expires - RENEW_BEFORE_S:
            form = {"grant_type": "password", "client_id": "zb", "username": self.name, "password": self._password}
            answer = self._answer(self._http.post(f"{self._issuer}/token", data=form))
            self._token = answer["access_token"]
            self._expires = time.monotonic() + float(answer["expires_in"])
        return self._token

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        if response.is_success:
            return response.json() if response.content else None
        is_problem = "json" in response.headers.get("content-type", "")
        raise Refused(response.status_code, response.json() if is_problem else {"detail": response.text[:500]})
