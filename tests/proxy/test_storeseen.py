"""Whether the store of a cluster's orders has lost what was known of it; and two proxies with one name. Pure."""

import time

import pytest

from popular.proxy.namesakes import (
    Named,
    identity_of,
    is_had_by,
    is_ours_alone,
    namesake_of,
    namesakes,
    new_identity,
    out_of_use,
)
from popular.proxy.storeseen import MARK, MOST_MARKS, KnownChange, StoreState, end_of, ended
from supervisor.operatorstate import SHARED, OperatorState


def store(*marks: str, before: int = 0) -> StoreState:
    """One with these changes, and so many before of which there are no marks."""
    return StoreState("e", before + len(marks), "".join(marks))


A, B, C, X = (letter * MARK for letter in "abcx")


@pytest.mark.parametrize(
    ("there", "known", "follows"),
    [
        (store(A, B), store(A, B).known, True),
        (store(A, B, C), store(A, B).known, True),
        (store(A), store(A, B).known, False),
        (store(A, X), store(A, B).known, False),
        (store(A, X, C), store(A, B).known, False),
        (StoreState("another", 2, A + B), store(A, B).known, False),
        (StoreState(), store(A, B).known, False),
        (store(A), KnownChange(), False),
        (store(A), KnownChange("e"), True),
        (store(B, C, before=600), KnownChange("e", 3, A), True),
        (store(*[X] * MOST_MARKS, before=600), KnownChange("e", 601, A), False),
    ],
)
def test_a_store_that_has_gone_back_is_found_out(there: StoreState, known: KnownChange, follows: bool) -> None:
    """Also when others have written since; of one that is another one nothing is known. Of a release without marks, or
    after more changes than there are marks, it is believed.
    """
    assert there.follows(known) is follows


def test_what_is_known_is_kept() -> None:
    """As text, in the state file."""
    state = OperatorState([store(A, B).known.entry()])
    assert KnownChange.of(state.of(SHARED)) == KnownChange("e", 2, B)
    assert KnownChange.of({}) == KnownChange()


@pytest.mark.parametrize("serial", ["", "x", "-1", "1e3", "9" * 99, "\u0663"])
def test_a_number_that_is_none_is_none(serial: str) -> None:
    """Anybody may have written it."""
    assert StoreState.of({"epoch": "e", "serial": serial}).serial == 0


def test_what_was_ended_is_remembered_for_a_while() -> None:
    """By its field."""
    state, now = OperatorState([end_of("a field", 100.0)]), 200.0
    assert ended(state.of(SHARED), now) == {"a field": 100.0}
    assert ended(state.of(SHARED), now + 3600) == {}
    assert len(state.ended(SHARED, now + 3600)) == 1


US = Named("p", "1", "h1")


def test_another_proxy_with_our_name_is_found() -> None:
    """Not we ourselves, whichever instance; nor what is no proxy."""
    other = Named("p", "2", "h2")
    there = [US.text(), US._replace(host="h9").text(), Named("q", "3", "h3").text(), other.text()]
    assert namesakes(US, [*there, "", "7", "[1, 2, 3]", '["p", "4"]', '["p", "5", "\\u001b"]', "[" * 9999]) == [other]


def test_a_name_of_before_is_out_of_use() -> None:
    """Also another proxy's; not one that an instance still says, nor one that somebody else has, nor of who is away, or
    has a copy of our state directory.
    """
    said = [US, Named("q", "2", "h2"), Named("lent", "3", "h3"), Named("still", "1", "h1")]
    silent = [US._replace(name="old"), Named("before", "2", "h2"), Named("lent", "1", "h1"), Named("still", "1", "h9")]
    texts = [
        *(one.text() for one in (*silent, Named("away", "4", "h4"), Named("copy", "1", "h5"))),
        "[",
        "7",
        '["x", 1]',
    ]
    assert out_of_use([one.text() for one in said], texts) == {"old", "before"}


def test_that_it_is_there_is_kept_until_it_is_gone() -> None:
    """Or until nobody has looked for too long."""
    now = time.time()
    state = OperatorState([new_identity(), is_had_by(Named("p", "2", "h2"), now)])
    kept = state.of(SHARED)
    assert len(identity_of(kept)) == 16
    assert namesake_of(kept, now) == "h2"
    assert namesake_of(kept, now + 60) == ""
    state.change([is_ours_alone()])
    assert namesake_of(kept, now) == ""
