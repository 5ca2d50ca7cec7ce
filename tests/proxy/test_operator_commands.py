"""The commands about drains, kicks, holds, locks and moves: what is ordered by them, and what is refused. Pure."""

import re
import time
from typing import Any

import pytest

from popular.proxy.settings import moving
from popular.proxy.settings.cluster import TellKicked
from popular.proxy.settings.explain import HERE, LoginToExplain
from supervisor.control.language.lookups import AskWorker, Result
from supervisor.control.language.outcome import (
    Action,
    Change,
    Move,
    Ordered,
    Replacement,
    Reply,
    Rollback,
    SessionSweep,
)
from supervisor.operatorstate import OrderEntry, unfinished
from tests.proxy.console import Console, refused


@pytest.fixture
def console() -> Console:
    made = Console()
    for line in ("backend conf one", "backend conf two", "vserv conf v1 port 1110"):
        made.say(line)
    return made


def order(console: Console, line: str) -> dict[tuple[str, str], object]:
    """Carries an order out as the master would; gives what was said of each thing (None: the end of an order)."""
    outcome = console.say(line)
    assert isinstance(outcome, Ordered | SessionSweep)
    console.status.operator.change(outcome.entries)
    return {(sort, ident): value for sort, ident, value in outcome.entries}


@pytest.mark.parametrize(
    ("line", "sort", "ident", "gentle", "deadline"),
    [
        ("kick user joe", "user", "default:joe", True, None),
        ("kick user joe namespace other deadline 10s", "user", "other:joe", True, 10),
        ("kick network 192.0.2.7", "network", "192.0.2.7/32", True, None),
        ("kick network 2001:db8::/32 deadline 1m", "network", "2001:db8::/32", True, 60),
        ("kick backend one", "backend", "one", True, None),
        ("kick vserv v1", "vserv", "v1", True, None),
        ("kick backend b2", "backend", "b2", True, None),
        ("kick vserv v2", "vserv", "v2", True, None),
        ("backend drain one deadline 10m", "backend", "one", False, 600),
        ("vserv drain v1", "vserv", "v1", False, None),
        ("user lock joe", "user", "default:joe", True, 10),
        ("user lock joe deadline 0", "user", "default:joe", True, 0),
    ],
)
def test_whose_sessions_go(
    console: Console, line: str, sort: str, ident: str, gentle: bool, deadline: int | None
) -> None:
    """A kick cuts at once who loses nothing; a drain cuts nobody before its deadline. What is gone from the
    configuration, and still has sessions (b2, v2), can be kicked too.
    """
    said = console.say(line)
    assert isinstance(said, SessionSweep)
    assert (said.sort, said.id, said.gentle, said.deadline) == (sort, ident, gentle, deadline)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("backend drain three", "no backend"),
        ("backend drain one new empty", "allowed: hold, fake, refuse"),
        ("backend drain one deadline soon", "is not a time"),
        ("kick backend one deadline 1s deadline 2s", '"deadline" is given twice'),
        ("backend undrain one", "is not drained"),
        ("vserv undrain v1", "is not drained"),
        ("kick backend b3", "no backend"),
        ("kick network here", "is not one network"),
        ("kick network 192.0.2.7,192.0.2.8", "is not one network"),
        ("kick backend one namespace x", "does not fit here; allowed: deadline"),
        ("kick user joe until 1s", "until"),
        ("user release joe", "is not held"),
        ("user unlock joe", "is not locked"),
        ("user unmove joe", "was not moved"),
        ("user hold joe for 11m", "does not fit; allowed: 1s to 10m"),
        ("user move joe three", "no backend"),
        ("user move joe two timeout 5s deadline 5s", "it must be before the timeout, 5 s"),
    ],
)
def test_what_is_refused(console: Console, line: str, why: str) -> None:
    """With the word, and what is allowed; nothing is ordered by it."""
    assert why in refused(console, line)


def test_a_hold_says_how_long_a_login_waits(console: Console) -> None:
    """Never beyond authtimeout."""
    console.say("set authtimeout 2m")
    told = [console.say(f"user hold joe for {time}").text.partition(": ")[2] for time in ("10m", "10s")]
    assert told == ["a login waits 120 s at most", "a login waits 10 s at most"]


def test_the_namespace_may_be_left_out_where_there_is_one(console: Console) -> None:
    """With two it must be said."""
    console.say("vserv conf v2 port 1111 namespace other")
    assert "there are: default, other" in refused(console, "user hold joe")
    assert ("user hold", "other:joe") in order(console, "user hold joe namespace other")


@pytest.mark.parametrize(
    "command", ["user lock {}", "user hold {}", "user move {} two", "kick user {}", "trace start user {}"]
)
def test_a_namespace_may_stand_in_front_of_a_user(console: Console, command: str) -> None:
    """As `user list` has it; a colon in a name counts where nobody has what stands in front of it."""
    console.say("vserv conf v2 port 1111 namespace other")
    for said, key in (("other:joe", "other:joe"), ("new:joe namespace other", "other:new:joe")):
        name, _, behind = said.partition(" ")
        outcome = console.say(f"{command.format(name)} {behind}")
        assert isinstance(outcome, Action)
        assert key in (getattr(outcome, "id", ""), *outcome.text.replace(",", "").split())
    assert "is of namespace other, and not of default" in refused(
        console, f"{command.format('other:joe')} namespace default"
    )


def test_who_is_listed_can_be_named_so(console: Console) -> None:
    """Also where no virtual server has his namespace any more, or each client says his own."""
    console.say('vserv conf v1 namespace "USER"')
    assert "say which: `namespace NAME`" in refused(console, "user lock zz:joe")
    order(console, "user lock joe namespace zz")
    order(console, "user hold ann namespace zz")
    assert order(console, "user unlock zz:joe") == {("user lock", "zz:joe"): None}
    assert order(console, "user release zz:ann") == {("user hold", "zz:ann"): None}


@pytest.mark.parametrize(
    "command", ["user lock joe", "user hold joe", "user move joe two", "kick user joe", "trace start user joe"]
)
def test_an_order_about_nobody_says_so(console: Console, command: str) -> None:
    """The namespace may be a slip; or somebody is to be locked before he can come. Where clients say theirs it may be
    any.
    """
    note = 'no virtual server has the namespace defualt; did you mean "default"?'
    for namespace, notes in (("default", False), ("defualt", True)):
        outcome = console.say(f"{command} namespace {namespace}")
        assert isinstance(outcome, Action)
        assert (note in outcome.notes) == notes
    console.say('vserv conf v2 port 1111 namespace "USER"')
    outcome = console.say(f"{command} namespace defualt")
    assert isinstance(outcome, Action)
    assert note not in outcome.notes


@pytest.mark.parametrize("command", ["user lock {}", "user hold {}", "user move {} two", "trace start user {}"])
def test_a_slip_in_front_of_the_colon_is_told(console: Console, command: str) -> None:
    """The order is about a user with a colon in his name, and perhaps nobody is called so. Who says the namespace too
    means it so.
    """
    note = (
        "defualt:joe is the name of a user of namespace default: no virtual server has the namespace defualt; "
        'did you mean "default"?'
    )
    for behind, notes in (("", True), (" namespace default", False)):
        outcome = console.say(command.format("defualt:joe") + behind)
        assert isinstance(outcome, Action)
        assert (note in outcome.notes) == notes


def test_orders_are_in_no_configuration(console: Console) -> None:
    """They are listed by `state list` and `user list`, until they are ended or over."""
    before = console.lines("show config")
    assert order(console, "backend drain one new hold").keys() == {("backend drain", "one")}
    order(console, "user lock joe until 1h")
    assert [line.split()[:3] for line in console.lines("state list")[1:]] == [
        ["backend", "drain", "one"],
        ["user", "lock", "default:joe"],
    ]
    assert "default:joe" in console.lines("user list")[1]
    assert order(console, "backend undrain one") == {("backend drain", "one"): None}
    console.status.operator.change([OrderEntry("user lock", "default:joe", {"until": time.time() - 1})])
    assert console.lines("state list") == ["nothing is ordered"]
    assert console.lines("show config") == before


def test_a_move_is_whole(console: Console) -> None:
    """It begins with what takes it back, and its end leaves the way alone; the hold of before stays."""
    console.status.operator.change([OrderEntry("user route", "default:joe", {"to": "one", "from": "zero"})])
    move = console.say("user move joe two timeout 5s")
    assert isinstance(move, Move)
    state = console.status.operator
    before = sorted(state.entries(0))
    state.change(move.before)
    assert unfinished(state.entries(0)) == [
        OrderEntry("user hold", "default:joe"),
        OrderEntry("user move", "default:joe"),
    ]
    assert "is released by that" in refused(console, "user release joe")
    assert "is being moved, and held by that" in refused(console, "user hold joe for 5m")
    state.change(unfinished(state.entries(0)))
    assert sorted(state.entries(0)) == before
    state.change([*move.before, *move.behind])
    (route,) = state.entries(0)
    assert (route.sort, (route.value or {})["to"], (route.value or {})["from"]) == ("user route", "two", "zero")
    assert "is at two already" in refused(console, "user move joe two")
    order(console, "user hold joe")
    back = console.say("user unmove joe")
    assert isinstance(back, Move)
    state.change([*back.before, *back.behind])
    assert [entry.sort for entry in state.entries(0)] == ["user hold"]


@pytest.mark.parametrize(("sort", "ident"), [("backend", "one"), ("vserv", "v1")])
def test_who_shows_or_makes_what_is_drained_is_told(console: Console, sort: str, ident: str) -> None:
    """It lasts beyond its `del`: who makes it anew would wonder that nobody comes in."""
    assert console.say(f"{sort} show {ident}").data["drained_since"] is None
    order(console, f"{sort} drain {ident}")
    note = f"drained since .*Z: nobody new comes in; `{sort} undrain {ident}` ends it"
    assert any(re.fullmatch(f"# {note}", line) for line in console.lines(f"{sort} show {ident}"))
    assert console.say(f"{sort} show {ident}").data["drained_since"].endswith("Z")
    console.say(f"{sort} del {ident}")
    port = " port 1110" if sort == "vserv" else ""
    assert re.search(f"is made; note: {note}", console.say(f"{sort} conf {ident}{port}").text)


def test_the_end_of_a_hold_ends_no_lock(console: Console) -> None:
    """The sessions of a locked user are still to go when his logins need not wait any more."""
    ends = []
    for line in ("user lock joe", "user hold joe", "user release joe", "user unlock joe"):
        ends.append([sort for (sort, _ident), value in order(console, line).items() if value is None])
    assert ends == [[], [], ["user hold"], ["user lock"]]


def known_as(console: Console, name: str, account: str, *, leads_to: str | None = "one", **more: object) -> None:
    """A worker would find out so much of who writes this name. `leads_to`: where he would be led now."""
    data = {
        "backend": None if leads_to is None else {"id": leads_to},
        "account": account,
        "identified_by": "users",
        "certain": True,
        "modules": [{"module": "users", "route": {"backend": "one", "server": None}}],
        **more,
    }
    console.known[AskWorker(LoginToExplain(name, HERE, "v1", mechanism="USER"))] = Result(data)


def test_what_is_ordered_of_an_alias_holds_for_the_account(console: Console) -> None:
    """JOE is joe where his module says so; and it is ended by either name, also when no module can be asked."""
    known_as(console, "JOE", "joe")
    for line in ("user lock JOE", "user hold JOE", "user unlock JOE", "user release JOE"):
        assert [ident for _sort, ident in order(console, line)] == ["default:joe"]
    kicked = console.say("kick user JOE")
    assert isinstance(kicked, SessionSweep)
    assert kicked.id == "default:joe"
    move = console.say("user move JOE two")
    assert isinstance(move, Move)
    assert (move.id, {entry.id for entry in (*move.before, *move.behind)}) == ("default:joe", {"default:joe"})
    console.status.operator.change([*move.before, *move.behind])
    assert "is at two already" in refused(console, "user move JOE two")
    assert isinstance(console.say("user unmove JOE"), Move)
    order(console, "user lock joe")
    console.known.clear()
    assert "is not locked" in refused(console, "user unlock JOE")
    assert list(order(console, "user unlock joe")) == [("user lock", "default:joe")]


def test_a_kick_in_a_cluster_is_told_by_the_master(console: Console) -> None:
    """As every order is, and not while it is still found out whether it can be."""
    console.say("set cluster redis://h")
    kick = console.say("kick user joe deadline 1m cluster")
    assert isinstance(kick, SessionSweep)
    assert isinstance(kick.told, TellKicked)
    assert (kick.told.sort, kick.told.id, kick.told.deadline, kick.surely_told) == ("user", "default:joe", 60, True)
    alone = console.say("kick user joe")
    assert isinstance(alone, SessionSweep)
    assert (alone.told, alone.surely_told) == (None, False)


def moved_from(console: Console, line: str = "user move joe two") -> tuple[str, bool]:
    """Where joe is said to be when he is moved to `two`; and whether his module is told."""
    console.say("pdm add users cdb /etc/popular/users.cdb")
    console.say("pdm conf users moves on")
    move = console.say(line)
    assert isinstance(move, Move)
    return str((move.before[0].value or {})["from"]), bool(move.switched)


@pytest.mark.parametrize("leads_to", ["three", None])
def test_a_user_is_moved_from_where_his_module_has_him(console: Console, leads_to: str | None) -> None:
    """His store is down, and he would be led to its backup `three`; or he is held. His mail is where it was, and the
    module is told that place again if the move fails.
    """
    known_as(console, "joe", "joe", leads_to=leads_to)
    assert moved_from(console) == ("one", True)


@pytest.mark.parametrize(
    "more",
    [
        {"modules": [{"module": "users", "route": {"backend": "one", "server": "192.0.2.7:110"}}]},
        {"certain": False},
    ],
)
def test_no_module_is_told_if_it_is_unknown_what_takes_that_back(console: Console, more: dict[str, Any]) -> None:
    """It names a server that is only like a backend; or a module that could not be asked comes before it."""
    known_as(console, "joe", "joe", **more)
    assert moved_from(console) == ("-", False)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("cdb /etc/popular/users.cdb", False),
        ('sql sqlite:/etc/popular/mail query "SELECT :user"', False),
        ("redis redis://h key mail:%u", True),
    ],
)
def test_a_file_is_not_told_of_a_move_in_a_cluster(console: Console, module: str, told: bool) -> None:
    """The others have files of their own: he would be at the old place there when the way that all have has ended."""
    for line in (f"pdm add users {module}", "pdm conf users moves on", "set cluster redis://h"):
        console.say(line)
    known_as(console, "joe", "joe")
    move = console.say("user move joe two")
    assert isinstance(move, Move)
    assert (move.behind[0].value or {}).get("until") is not None or not told
    assert len(move.switched) == 1 + told, "and the others of the new way"


def test_a_module_that_was_not_told_of_a_move_is_not_told_of_its_end(console: Console) -> None:
    """It may say the new place by now: that would be the old one again. What it was told is taken back."""
    known_as(console, "joe", "joe")
    move = console.say("user move joe two")
    assert isinstance(move, Move)
    console.status.operator.change(move.behind)
    assert moved_from(console, "user unmove joe")[1] is False
    console.status.operator.change([OrderEntry("user route", "default:joe")])
    move = console.say("user move joe two")
    assert isinstance(move, Move)
    console.status.operator.change(move.behind)
    back = console.say("user unmove joe")
    assert isinstance(back, Move)
    assert back.switched


@pytest.mark.parametrize("line", ["backend del two", "backend flush"])
def test_a_backend_to_which_users_were_moved_does_not_go(console: Console, line: str) -> None:
    """They could not log in any more. Who is led back, or elsewhere, or whose way has ended by itself, is in no way."""
    routes = [OrderEntry("user route", f"default:{name}", {"to": "two", "from": "one"}) for name in ("ann", "joe")]
    over = OrderEntry("user route", "default:kim", {"to": "two", "from": "one", "until": 1.0})
    console.status.operator.change([*routes, over])
    assert isinstance(console.say("backend del one"), Change)
    assert "2 users moved to two could not log in any more; `user list`" in refused(console, line)
    console.status.operator.change([one._replace(value=None) for one in routes])
    console.status.operator.change([OrderEntry("user move", "default:eve", {"from": "one", "to": "two"})])
    assert "1 user moved to two" in refused(console, line)
    console.status.operator.change([OrderEntry("user move", "default:eve")])
    assert isinstance(console.say(line), Change)


@pytest.mark.parametrize("asked", ["draft apply", "draft check"])
def test_nor_by_a_whole_configuration_without_it(console: Console, asked: str) -> None:
    """As `pcontrol apply` brings it; `check` foretells it. What only shows the difference shows it, and has a note."""
    console.status.operator.change([OrderEntry("user route", "default:joe", {"to": "two", "from": "one"})])
    for line in ("draft begin", "draft say backend conf one"):
        console.say(line)
    assert "1 user moved to two could not log in any more" in refused(console, asked)
    shown = console.say("draft show")
    assert shown.text.startswith("2 gone; note: 1 user moved to two could not log in any more")
    assert "- backend conf two" in shown.data_lines()


def test_a_configuration_that_was_in_force_can_come_back(console: Console) -> None:
    """By itself too, if nobody confirms the new one: then it is only told who cannot log in."""
    for line in ("draft begin", "draft say backend conf one", "draft say backend conf three", "draft apply"):
        console.say(line)
    console.status.operator.change([OrderEntry("user route", "default:joe", {"to": "three", "from": "one"})])
    back = console.say("rollback")
    assert isinstance(back, Rollback)
    assert "1 user moved to three cannot log in from now on" in back.text
    ((message, fields),) = back.entries
    assert (message.name, fields["of"]) == ("config_note", "backend three"), "nobody reads what it says by itself"


@pytest.mark.parametrize(("lines", "noted"), [(["three"], ["backend two"]), (["two", "three"], [])])
def test_a_start_without_a_backend_that_users_were_moved_to_says_so(lines: list[str], noted: list[str]) -> None:
    """It starts, for an operator is not always there; the log has it, once."""
    console = Console()
    console.starting = True
    console.status.operator.change([OrderEntry("user route", "default:joe", {"to": "two", "from": "one"})])
    for line in ("draft begin", *(f"draft say backend conf {one}" for one in lines)):
        console.say(line)
    begun = console.say("draft apply")
    assert isinstance(begun, Replacement)
    assert [fields["of"] for _message, fields in begun.entries] == noted


@pytest.mark.parametrize("since", ["yesterday", 1e300, [], {"a": 1}])
def test_what_people_wrote_into_the_state_file_is_listed(console: Console, since: object) -> None:
    """As it is there, where it is no moment."""
    console.status.operator.change([OrderEntry("user hold", "default:joe", {"since": since})])
    for line in ("state list", "user list"):
        outcome = console.say(line)
        assert isinstance(outcome, Reply)
        assert str(since or None) in str(outcome.data)


def test_a_user_is_no_option_of_the_move_command(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """His name is an argument of it, and may begin with anything else."""
    assert isinstance(console.say("user move --delete two"), Move)
    monkeypatch.setattr(moving, "_command", ["/bin/copy"])
    assert "would be an option" in refused(console, "user move --delete two")
    move = console.say('user move "j;o e" two')
    assert isinstance(move, Move)
    assert move.command == ("/bin/copy", "default", "j;o e", "-", "two")
