"""When a thing that was retired is let go of."""

from supervisor.serving.refcount import RefCount


def test_the_last_one_to_go_lets_go() -> None:
    """Not before it is retired, not while anybody holds it, and then once."""
    let_go: list[str] = []
    holders = RefCount(lambda: let_go.append("now"))
    holders.acquire()
    holders.acquire()
    holders.release()
    holders.release()
    assert not let_go
    holders.acquire()
    holders.retire()
    assert not let_go
    holders.release()
    assert let_go == ["now"]


def test_what_nobody_holds_is_let_go_of_at_once() -> None:
    """There is nobody whose end would do it."""
    let_go: list[str] = []
    RefCount(lambda: let_go.append("now")).retire()
    assert let_go == ["now"]
