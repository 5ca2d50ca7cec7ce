"""Orders that are kept and cannot be carried out: the file may be of another release, or people have written in it.

They are told when they are taken up, and each stays in `state list` until somebody ends it. Pure.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from popular.proxy.settings.order_sorts import (
    DRAINED_BACKEND,
    DRAINED_VSERV,
    HELD_USER,
    LOCKED_USER,
    MOVING_USER,
    ROUTED_USER,
)
from popular.proxy.settings.tracing import TRACE, is_well_formed
from supervisor.operatorstate import SHARED, OrderEntry
from supervisor.table.blocked import BLOCKED

_Test = Callable[[str, Mapping[str, Any]], bool]


def _is_network(ident: str, _value: Mapping[str, Any]) -> bool:
    try:
        ipaddress.ip_network(ident)
    except ValueError:
        return False
    return True


def _is_of_user(ident: str, _value: Mapping[str, Any]) -> bool:
    return ":" in ident


def _leads(ident: str, value: Mapping[str, Any]) -> bool:
    return ":" in ident and isinstance(value.get("to"), str)


def _always(_ident: str, _value: Mapping[str, Any]) -> bool:
    return True


_CAN_BE_CARRIED_OUT: Mapping[str, _Test] = {
    BLOCKED: _is_network,
    DRAINED_BACKEND: _always,
    DRAINED_VSERV: _always,
    HELD_USER: _is_of_user,
    LOCKED_USER: _is_of_user,
    MOVING_USER: _leads,
    ROUTED_USER: _leads,
    SHARED: _always,
    TRACE: is_well_formed,
}
"""By sort."""


def unheeded(entries: Iterable[OrderEntry]) -> list[OrderEntry]:
    """Those that nothing comes of."""
    tests = _CAN_BE_CARRIED_OUT
    return [one for one in entries if one.sort not in tests or not tests[one.sort](one.id, one.value or {})]
