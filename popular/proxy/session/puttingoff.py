"""What a verb cannot do is put off until the entry has returned that called it: a verb never calls the machine."""

from collections.abc import Callable
from typing import Any

from popular.pdm.chain import Decision
from popular.proxy.session.verbs import Verbs


class PuttingOff(Verbs):
    """The verbs of a session that puts one thing off at a time; nearly always one of two, which go without a call in
    Python.
    """

    __slots__ = ("_call", "_decision", "_has_put_off", "_joined")

    def _put_nothing_off(self) -> None:
        self._has_put_off = False
        """One of the other three is there."""
        self._decision: Decision | None = None
        """What the modules have said at once: to be told."""
        self._joined: tuple[bytes, bytes] | None = None
        """Client and backend are to be joined, behind what each is still to be sent."""
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = None

    def _claim_turn(self) -> None:
        assert not self._has_put_off, "one entry begins one step at most"
        self._has_put_off = True

    def _put_off(self, do: Callable[..., None], *facts: Any) -> None:
        self._claim_turn()
        self._call = do, facts

    def decide(self, decision: Decision) -> None:
        self._claim_turn()
        self._decision = decision

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        self._claim_turn()
        self._joined = to_client, to_backend

    def _do_what_was_put_off(self) -> None:
        """What is done here may put off something again."""
        decision, joined = self._decision, self._joined
        self._has_put_off = False
        if decision is not None:
            self._decision = None
            self._tell_decision(decision)
        elif joined is not None:
            self._joined = None
            to_client, to_backend = joined
            self._join(to_client, to_backend)
        else:
            assert self._call is not None
            (do, facts), self._call = self._call, None
            do(*facts)

    def _tell_decision(self, decision: Decision) -> None:
        """What the modules say goes to the machine."""
        raise NotImplementedError

    def _join(self, to_client: bytes, to_backend: bytes) -> None:
        """The relay begins."""
        raise NotImplementedError
