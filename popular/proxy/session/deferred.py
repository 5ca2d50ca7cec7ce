"""What a verb cannot do at once: it is kept until the entry that called the verb has returned, and done then.

So no verb ever calls the machine (verbs.py). One thing at a time; who calls an entry calls `_do_deferred` behind it.
"""

from collections.abc import Callable
from typing import Any

from popular.pdm.chain import Decision
from popular.proxy.session.machine.verbs import Verbs


class DeferredVerbs(Verbs):
    """The verbs of a session that defers one thing at a time; nearly always one of two, which go without a call in
    Python.
    """

    __slots__ = ("_call", "_decision", "_has_deferred", "_to_relay")

    def _defer_nothing(self) -> None:
        self._has_deferred = False
        """One of the three below is there."""
        self._decision: Decision | None = None
        """What the modules have said at once: to be told."""
        self._to_relay: tuple[bytes, bytes] | None = None
        """The relay is to begin, behind what each side is still to be sent."""
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = None

    def _claim_turn(self) -> None:
        assert not self._has_deferred, "one entry begins one step at most"
        self._has_deferred = True

    def _defer(self, do: Callable[..., None], *facts: Any) -> None:
        self._claim_turn()
        self._call = do, facts

    def decide(self, decision: Decision) -> None:
        self._claim_turn()
        self._decision = decision

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        self._claim_turn()
        self._to_relay = to_client, to_backend

    def _do_deferred(self) -> None:
        """What is done here may defer something again."""
        decision, to_relay = self._decision, self._to_relay
        self._has_deferred = False
        if decision is not None:
            self._decision = None
            self._tell_decision(decision)
        elif to_relay is not None:
            self._to_relay = None
            to_client, to_backend = to_relay
            self._begin_relay(to_client, to_backend)
        else:
            assert self._call is not None
            (do, facts), self._call = self._call, None
            do(*facts)

    def _tell_decision(self, decision: Decision) -> None:
        """What the modules say goes to the machine."""
        raise NotImplementedError

    def _begin_relay(self, to_client: bytes, to_backend: bytes) -> None:
        """The relay begins."""
        raise NotImplementedError
