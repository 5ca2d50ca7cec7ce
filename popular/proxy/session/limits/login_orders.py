"""What the operator has ordered, as far as a login goes: drains, holds, locks, and users that were moved.

One for each worker. A login asks only while there is `any`. Who is held waits here, and is called as soon as the orders
that hold him have changed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from popular.pdm.contract import Route
from popular.proxy.settings.order_sorts import (
    DRAINED_BACKEND,
    DRAINED_VSERV,
    HELD_USER,
    LOCKED_USER,
    NEW,
    ROUTED_USER,
    hold_seconds,
    user_key,
)
from supervisor.operatorstate import OperatorState, OrderEntry, is_over
from supervisor.system import wall

GO_ON, LOCKED, HELD_BACK, FAKE, DRAINED = "", "locked", "held", "fake", "drained"
"""What becomes of a login: as if nothing were ordered, a wrong password, it waits, an empty mailbox, later again."""
LED = "led"
"""Beside that: to another backend."""


class AskedLogin(NamedTuple):
    """Who comes in by which virtual server, and where his mail is said to be."""

    vserv: str
    namespace: str
    user: str
    backend: str
    account: str = ""
    """As whom his module has him, however he has written his name; "": as he has."""

    def order_in(self, sort: str, orders: Mapping[str, Mapping[str, Any]]) -> OrderEntry | None:
        """What is ordered about him, by either name, and has not ended."""
        for name in (self.user, self.account):
            key = user_key(self.namespace, name)
            found = orders.get(key)
            if found is not None and not is_over(found, wall()):
                return OrderEntry(sort, key, found)
        return None


def moved(route: Route, backend_id: str) -> Route:
    """The way of a user who is at this backend now: a server that a module has said belongs to the old one."""
    return route if route.backend == backend_id else route._replace(backend=backend_id, server=None)


class LoginOrders(Protocol):
    """What a machine asks."""

    @property
    def any(self) -> bool:
        """Whether anything is ordered; else nothing is asked."""

    def routed(self, asking: AskedLogin) -> AskedLogin:
        """The login with where his mail is: where the operator has moved it to, or else as it was."""

    def verdict(self, asking: AskedLogin) -> tuple[str, float]:
        """What becomes of the login; and, if it is held, for how many seconds at most."""

    def heeded(self, asking: AskedLogin) -> Sequence[tuple[str, OrderEntry]]:
        """The orders by which it is so, each with what it does."""


class NoOrders:
    """Where nothing is ordered."""

    any = False

    def routed(self, asking: AskedLogin) -> AskedLogin:
        """Not asked."""
        return asking

    def verdict(self, asking: AskedLogin) -> tuple[str, float]:
        """Not asked."""
        del asking
        return GO_ON, 0.0

    def heeded(self, asking: AskedLogin) -> Sequence[tuple[str, OrderEntry]]:
        """Not asked."""
        del asking
        return ()


NO_ORDERS = NoOrders()


class WorkerOrders:
    """The operator's orders about users, backends and virtual servers, as this worker knows them."""

    def __init__(self, operator: OperatorState, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._backends = operator.of(DRAINED_BACKEND)
        self._vservs = operator.of(DRAINED_VSERV)
        self._holds = operator.of(HELD_USER)
        self._locks = operator.of(LOCKED_USER)
        self._routes = operator.of(ROUTED_USER)
        self._call_soon = call_soon
        self._waiting: dict[int, tuple[AskedLogin, Callable[[], None]]] = {}
        """By the row of the session."""
        self.any = False
        self.changed(())

    def changed(self, _entries: Sequence[OrderEntry]) -> None:
        """Something else is ordered: who is held for no reason any more goes on."""
        self.any = bool(self._backends or self._vservs or self._holds or self._locks or self._routes)
        for row_number, (asking, go_on) in list(self._waiting.items()):
            if self.verdict(asking)[0] != HELD_BACK:
                del self._waiting[row_number]
                self._call_soon(go_on)

    def routed(self, asking: AskedLogin) -> AskedLogin:
        """See LoginOrders."""
        way = self._way(asking)
        return asking if way is None else asking._replace(backend=str((way.value or {}).get("to")))

    def verdict(self, asking: AskedLogin) -> tuple[str, float]:
        """See LoginOrders."""
        what, order = self._ruling(asking)
        held = hold_seconds((order.value or {}).get("seconds")) if what == HELD_BACK and order is not None else 0.0
        return what, held

    def heeded(self, asking: AskedLogin) -> Sequence[tuple[str, OrderEntry]]:
        """See LoginOrders."""
        found = ((LED, self._way(asking)), self._ruling(asking))
        return [(what, order) for what, order in found if order is not None]

    def _way(self, asking: AskedLogin) -> OrderEntry | None:
        return asking.order_in(ROUTED_USER, self._routes) if self._routes else None

    def _ruling(self, asking: AskedLogin) -> tuple[str, OrderEntry | None]:
        """What becomes of the login, and the order by which it does. A lock goes before all else: it must look the same
        whatever else is ordered.
        """
        if lock := asking.order_in(LOCKED_USER, self._locks):
            return LOCKED, lock
        if hold := asking.order_in(HELD_USER, self._holds):
            return HELD_BACK, hold
        vserv, backend = self._vservs.get(asking.vserv), self._backends.get(asking.backend)
        if vserv is not None:
            return DRAINED, OrderEntry(DRAINED_VSERV, asking.vserv, vserv)
        if backend is None:
            return GO_ON, None
        what = {"hold": HELD_BACK, "fake": FAKE}.get(str(backend.get(NEW)), DRAINED)
        return what, OrderEntry(DRAINED_BACKEND, asking.backend, backend)

    def keep(self, row_number: int, asking: AskedLogin, *, go_on: Callable[[], None]) -> None:
        """A session waits for what holds it to end; `go_on` is called once, unless it is forgotten before."""
        self._waiting[row_number] = asking, go_on

    def forget(self, row_number: int) -> None:
        """It waits no more."""
        self._waiting.pop(row_number, None)
