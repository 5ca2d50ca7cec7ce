"""No circle of imports, no name twice, one number for each event."""

from tests.architecture.tree import PACKAGES, assigned, circle, classes, imports, knots, sources

PAIRS = {
    "Machine": "of the proxy and of pserv",
    "Phase": "of the proxy's and of pserv's machine",
    "SessionRow": "of the proxy's and of pserv's session",
    "Session": "the supervisor's Protocol, and the two that keep it",
    "Verbs": "of the proxy's and of pserv's machine",
}
"""Class names that may stand more than once, and what they are."""


def test_no_imports_go_round() -> None:
    """Neither at run time nor for type checkers only, nor in functions; in the tests too."""
    graph = imports(sources(*PACKAGES))
    assert [" → ".join(circle(graph, knot)) for knot in knots(graph)] == []


def test_a_class_name_stands_once() -> None:
    """So that a name is one thing wherever it is read; a leading underscore does not make another name."""
    twice = classes(sources("supervisor", "metrics", "popular", "deploy"))
    assert {name: modules for name, modules in twice.items() if name not in PAIRS} == {}


def test_an_event_is_one_number() -> None:
    """READ and WRITE mean the same to every event loop."""
    trees = sources("supervisor", "metrics", "popular")
    assert [assigned(trees, name) for name in ("READ", "WRITE")] == [["supervisor.runtime.loop"]] * 2


def test_nothing_is_hidden_from_the_interpreter() -> None:
    """No import stands behind TYPE_CHECKING to hide a circle; what is too heavy to import is named here."""
    heavy = {"popular.tls.certificate"}
    found = {
        module
        for module, tree in sources("supervisor", "metrics", "popular").items()
        if "TYPE_CHECKING" in assigned_names(tree)
    }
    assert found == heavy


def assigned_names(tree: object) -> set[str]:
    """All names that a file mentions."""
    import ast

    assert isinstance(tree, ast.Module)
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
