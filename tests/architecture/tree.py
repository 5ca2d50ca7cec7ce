"""The source as a graph of imports and a list of names, read without importing anything.

.venv/bin/python -m tests.architecture.tree     # prints the circles and the names that stand twice
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("supervisor", "metrics", "popular", "deploy", "tests")

Graph = dict[str, set[str]]


def sources(*packages: str, root: Path = ROOT) -> dict[str, ast.Module]:
    """The modules of these packages, by their dotted names. A package is its `__init__`."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports(trees: Mapping[str, ast.Module]) -> Graph:
    """Who imports whom, wherever the import stands: also in a function, or for type checkers only."""
    return {name: set(_imported(tree, trees)) - {name} for name, tree in trees.items()}


def _imported(tree: ast.Module, known: Mapping[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names if alias.name in known)
            case ast.ImportFrom(module=str(module), level=0):
                for alias in node.names:
                    inside = f"{module}.{alias.name}"
                    yield from (name for name in (inside if inside in known else module,) if name in known)
            case ast.ImportFrom():
                raise AssertionError(f"line {node.lineno}: write imports in full, they are compared by name")


def knots(graph: Graph) -> list[set[str]]:
    """Groups of modules in which each leads to each of the others, the largest first: where the circles are."""
    reach = {name: _reached(graph, name) for name in graph}
    found: list[set[str]] = []
    for name in sorted(graph):
        knot = {other for other in reach[name] if name in reach[other]}
        if knot and knot not in found:
            found.append(knot)
    return sorted(found, key=len, reverse=True)


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        for name in graph[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found


def circle(graph: Graph, knot: set[str]) -> list[str]:
    """A shortest way round in a knot; its first module stands at its end again."""
    ways = (_way_round(graph, knot, start) for start in sorted(knot))
    return min(ways, key=len)


def _way_round(graph: Graph, knot: set[str], start: str) -> list[str]:
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for name in sorted(graph[way[-1]] & knot):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    raise AssertionError(f"no way leads round to {start}")


def classes(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Where each class name stands that stands twice, public or private: `_Phase` is another Phase."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(module)
    return {name: modules for name, modules in sorted(found.items()) if len(modules) > 1}


def assigned(trees: Mapping[str, ast.Module], name: str) -> list[str]:
    """The modules that give this name a value of their own, at the top."""
    found = []
    for module, tree in trees.items():
        targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
        targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
        spread = [inner for target in targets for inner in ast.walk(target)]
        if any(isinstance(inner, ast.Name) and inner.id.lstrip("_") == name for inner in spread):
            found.append(module)
    return found


def main() -> None:
    """Prints what the tests hold against the lists."""
    graph = imports(sources(*PACKAGES))
    for knot in knots(graph):
        print(f"{len(knot)} modules: {', '.join(sorted(knot))}\n    {' → '.join(circle(graph, knot))}")
    for name, modules in classes(sources("supervisor", "metrics", "popular", "deploy")).items():
        print(f"{name}: {', '.join(modules)}")


if __name__ == "__main__":
    main()
