"""How a server of Redis or Valkey is reached: alone, as the master that sentinels know, or as a cluster.

The module `redis` names the form by its words; the variable `cluster` in its URL:

    redis://[USER@]HOST[:PORT][/DB]                          one server (rediss:// in TLS, unix:/PATH)
    redis+sentinel://[USER@]HOST[:PORT],…/NAME[/DB]          the master NAME of sentinels (rediss+sentinel://)
    redis+cluster://[USER@]HOST[:PORT]                       a node of a cluster (rediss+cluster://)

Nothing is connected by making a client: it does that when it is asked, and anew by itself. A question is sent once more
where its connection was gone; in a cluster that is the library's to say.
"""

import errno
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from popular.pdm import keptsocket
from popular.pdm.arguments import is_at_host, needs
from popular.pdm.contract import ModuleFailed

SENTINEL, CLUSTER = "sentinel", "cluster"
LIBRARY = "redis.asyncio"

_PORT, _SENTINEL_PORT = 6379, 26379
_TIMES = ("socket_timeout", "socket_connect_timeout")
"""All sentinels share them: they are asked one after the other, each once. One that is away keeps nobody waiting."""
_KEPT = {"socket_keepalive": True, "socket_keepalive_options": keptsocket.OPTIONS}
"""By them a connection that has vanished is told from a server that is slow."""
_MOST_OF_REASON = 200
_OF_SENTINELS = ("ssl", "ssl_ca_certs")
"""Settings that count for the sentinels, too; they know neither user nor password."""


class RedisPlace(NamedTuple):
    """Where the users are: `form` is "", SENTINEL or CLUSTER, `master` the name that sentinels know it by."""

    url: str
    parts: SplitResult
    form: str = ""
    master: str = ""

    @property
    def user(self) -> str:
        """Who we are there; "" if the URL does not say."""
        return unquote(self.parts.username or "")

    def without_user(self) -> "RedisPlace":
        """These servers, and nothing of who we are."""
        netloc = self.parts.netloc.rpartition("@")[2]
        url = urlsplit(self.url)._replace(netloc=netloc).geturl()
        return self._replace(url=url, parts=self.parts._replace(netloc=netloc))


def place_of(url: str, *, several: bool = False) -> RedisPlace:
    """By a URL that names the form. Raises ModuleFailed, with a text that says what is allowed. `several`: there may be
    more than one server in it, though it does not say that they are sentinels.
    """
    scheme, plus, form = urlsplit(url).scheme.partition("+")
    parts = urlsplit(url)._replace(scheme=scheme)
    path = parts.path.strip("/").split("/")
    are_many = several or form == SENTINEL
    nodes = parts.netloc.rpartition("@")[2].split(",") if are_many else [parts.netloc]
    if "?" in url or "#" in url:
        raise ModuleFailed('neither "?" nor "#" is allowed in the URL')
    is_there = parts.path if scheme == "unix" else all(is_at_host(urlsplit(f"//{node}")) for node in nodes)
    if scheme not in ("redis", "rediss", "unix") or not is_there:
        raise ModuleFailed("allowed: redis://[USER@]HOST[:PORT][/DB], rediss://…, or unix:/PATH; PORT: 1 to 65535")
    if not plus:
        if scheme != "unix" and not (path == [""] or (len(path) == 1 and path[0].isdigit())):
            raise ModuleFailed("after redis://[USER@]HOST[:PORT] only /DB is allowed, a number")
        return RedisPlace(url, parts)
    if scheme == "unix" or form not in (SENTINEL, CLUSTER):
        raise ModuleFailed("allowed: redis+sentinel://HOST[:PORT],…/NAME[/DB], redis+cluster://HOST[:PORT], rediss+…")
    if form == CLUSTER:
        return RedisPlace(url, parts, form=form)
    name, db = path[0], path[1] if len(path) > 1 else "0"
    if not name or len(path) > 2 or not db.isdigit():
        raise ModuleFailed("after redis+sentinel://HOST[:PORT],… stands the name of the master: /NAME, or /NAME/DB")
    return RedisPlace(url, parts._replace(path=f"/{db}"), form=form, master=name)


class Connected:
    """A client with what belongs to it. `client` is the library's own."""

    def __init__(
        self,
        place: RedisPlace,
        settings: Mapping[str, Any],
        *,
        password: Callable[[], str] | None = None,
        once_if_slow: bool = False,
    ) -> None:
        """`settings`: of a connection. `password`: asked for each new connection; it may raise OSError. `once_if_slow`:
        what is not answered in time is not sent again; an answer may then take longer than keptsocket.py does. Raises
        ModuleFailed where the library is missing.
        """
        self._library = needs(LIBRARY, extra="redis")
        if password is not None:
            settings = {**settings, "credential_provider": _provider(place.user, password)}
            place = place.without_user()  # the library wants the one or the other
        self._sentinels: Any = None
        again = _retries(1)
        if once_if_slow:
            again = _twice_if_vanished() | (_KEPT if place.parts.scheme != "unix" else {})
        if place.form and place.parts.scheme == "rediss":
            settings = {**settings, "ssl": True}  # elsewhere the library takes it from the URL
        if place.form == SENTINEL:
            self.client = self._master(place, {**again, **settings})
        elif place.form == CLUSTER:
            self.client = self._library.RedisCluster(
                host=place.parts.hostname or "", port=place.parts.port or _PORT, **_user(place), **settings
            )
        else:
            url = place.url
            if place.parts.scheme == "unix" and not url.startswith("unix://"):
                url = url.replace("unix:", "unix://", 1)  # half of the library wants it so
            self.client = self._library.Redis.from_url(url, **again, **settings)

    def _master(self, place: RedisPlace, settings: Mapping[str, Any]) -> Any:
        nodes = [_host_and_port(node) for node in place.parts.netloc.rpartition("@")[2].split(",")]
        theirs = {name: settings[name] for name in _OF_SENTINELS if name in settings}
        theirs |= {name: settings[name] / len(nodes) for name in _TIMES if name in settings}
        library = importlib.import_module(f"{LIBRARY}.sentinel")
        self._sentinels = library.Sentinel(nodes, sentinel_kwargs={**theirs, **_retries(0)})
        db = int(place.parts.path.lstrip("/") or "0")
        return self._sentinels.master_for(place.master, db=db, **_user(place), **settings)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self.client.aclose()
        for sentinel in self._sentinels.sentinels if self._sentinels is not None else ():
            await sentinel.aclose()


def _user(place: RedisPlace) -> dict[str, str]:
    return {"username": place.user} if place.user else {}


def _retries(count: int) -> dict[str, Any]:
    """So often more, at once: a connection that stood unused may be gone. The library's ten times take too long."""
    retry = importlib.import_module(f"{LIBRARY}.retry").Retry
    return {"retry": retry(needs("redis.backoff", extra="redis").NoBackoff(), count)}


def _twice_if_vanished() -> dict[str, Any]:
    """Once more, at once, where the connection was gone. That it has vanished is the kernel's word, which the library
    tells by the same error as that an answer takes too long.
    """
    errors = needs("redis.exceptions", extra="redis")

    class TwiceIfVanished(importlib.import_module(f"{LIBRARY}.retry").Retry):  # type: ignore[misc]
        async def call_with_retry(self, do: Callable[[], Awaitable[Any]], *more: Any, **named: Any) -> Any:
            async def asked() -> Any:
                try:
                    return await do()
                except errors.TimeoutError as error:
                    if getattr(error.__context__, "errno", None) == errno.ETIMEDOUT:
                        raise errors.ConnectionError(str(error)) from error
                    raise

            return await super().call_with_retry(asked, *more, **named)

    no_pause = needs("redis.backoff", extra="redis").NoBackoff()
    return {"retry": TwiceIfVanished(no_pause, 1, supported_errors=(errors.ConnectionError,))}


def _provider(user: str, password: Callable[[], str]) -> Any:
    """What the library asks at each connection."""

    class FileCredentials(needs("redis.credentials", extra="redis").CredentialProvider):  # type: ignore[misc]
        def get_credentials(self) -> tuple[str, ...]:
            return (user, password()) if user else (password(),)

        async def get_credentials_async(self) -> tuple[str, ...]:
            return self.get_credentials()

    return FileCredentials()


def _host_and_port(node: str) -> tuple[str, int]:
    host, colon, port = node.rpartition(":")
    return (host, int(port)) if colon and port.isdigit() else (node, _SENTINEL_PORT)


def reason_of(error: BaseException) -> str:
    """Why a server does not answer, for people. What the server has said stays out: it may repeat our password."""
    kind = type(error)
    exceptions = needs("redis.exceptions", extra="redis")
    is_ours = kind in (exceptions.ConnectionError, exceptions.TimeoutError) or isinstance(error, OSError)
    text = str(error)[:_MOST_OF_REASON] if is_ours else ""
    return f"{kind.__name__}: {text}" if text else kind.__name__
