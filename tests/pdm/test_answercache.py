"""What is kept of the answers of modules, and for how long: what a module itself says of that."""

from popular.pdm.answercache import CachedAnswer, to_keep
from popular.pdm.contract import Authenticated, Refused, Route

HERE = Route("store1")
JOE = ("default", "joe")


def test_a_stale_answer_counts_no_longer_than_the_module_has_said() -> None:
    """A token that is over lets nobody in, be the provider there or not."""
    for answer, until in (
        (Authenticated(HERE), 70.0),
        (Authenticated(HERE, cache=10.0), 10.0),
        (Authenticated(HERE, cache=40.0), 40.0),
        (Authenticated(HERE, cache=1e6), 70.0),
    ):
        kept = CachedAnswer(answer, JOE, since=100.0, seconds=10.0)
        assert kept.is_useful(100.0 + until - 1, stale=60.0)
        assert not kept.is_useful(100.0 + until, stale=60.0)
    assert not CachedAnswer(Refused(), JOE, since=100.0, seconds=10.0).is_useful(101.0, stale=60.0)


def test_trouble_of_a_server_is_not_kept() -> None:
    """It says nothing of this user."""
    assert [to_keep(Refused(code=code)) for code in ("SYS/TEMP", "sys/perm/x")] == [None, None]
    assert to_keep(Refused(code="IN-USE")) == Refused(code="IN-USE")
