"""Who a user is before he logs in: as whom a module has him, and where his mail is, as a worker finds it out.

An order about JOE holds for joe too where his module says that the two are one: so it is kept by the account's name.
Where nobody can say so without a password, or in time, it is kept as it was typed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from popular.proxy.settings.explain import HERE, MECHANISMS, LoginToExplain
from popular.proxy.settings.kinds import USER_NAMESPACE
from popular.proxy.settings.order_sorts import user_key
from supervisor.control.language.context import CommandContext
from supervisor.control.language.lookups import AskWorker, Unfit

UNKNOWN = "-"
"""No module that could be asked knows where the user is; or it names a server that is no backend, or one that could not
be asked may know another place.
"""


class FoundUser(NamedTuple):
    """A user as modules know him."""

    namespace: str
    account: str
    backend: str = UNKNOWN
    module: str = ""
    """The one that knows him."""

    @property
    def key(self) -> str:
        """The id of orders about him."""
        return user_key(self.namespace, self.account)


def found_user(context: CommandContext, namespace: str, user: str) -> FoundUser:
    """As a worker finds it out from the modules, without a password. May need a lookup."""
    typed = FoundUser(namespace, user)
    for vserv in context.config.things["vserv"].values():
        if vserv.namespace in (namespace, USER_NAMESPACE):
            name = f"{user}={namespace}" if vserv.namespace == USER_NAMESPACE else user
            question = AskWorker(LoginToExplain(name, HERE, vserv.id, mechanism=MECHANISMS[0]))
            try:
                data: Any = context.lookups.find(question)
            except Unfit:
                return typed
            account = data["account"] if data["account"].isprintable() else ""
            return FoundUser(namespace, account or user, backend=_home(data), module=data["identified_by"])
    return typed


def _home(data: Mapping[str, Any]) -> str:
    """The backend that the module names which knows him, or the fallback. Whether he could log in there now, is held,
    or would be led to its backup is another matter.
    """
    if not data["identified_by"]:
        return str(data["backend"]["id"]) if data["backend"] else UNKNOWN
    route = next((row["route"] for row in data["modules"] if row["module"] == data["identified_by"]), None)
    return UNKNOWN if route is None or route["server"] or not data["certain"] else str(route["backend"])
