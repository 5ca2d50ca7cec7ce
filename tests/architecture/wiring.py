"""How parts are put together, read from the source: what is called by position, and what is set from outside.

.venv/bin/python -m tests.architecture.wiring     # prints what the tests hold against the lists
"""

import ast
from collections.abc import Iterator, Mapping

from tests.architecture.tree import sources

MOST_POSITIONAL = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_signatures(trees: Mapping[str, ast.Module]) -> list[str]:
    """Functions of which more than three parameters can be passed by position, as `module.Class.function`."""
    return [
        name
        for module, tree in trees.items()
        for name, function in _functions(tree, module)
        if len(_positional(function)) > MOST_POSITIONAL
    ]


def _functions(node: ast.AST, name: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{name}.{child.name}", child
        inner = f"{name}.{child.name}" if isinstance(child, Function | ast.ClassDef) else name
        yield from _functions(child, inner)


def _positional(function: Function) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def long_calls(trees: Mapping[str, ast.Module], rows: Mapping[str, str]) -> list[str]:
    """Where one of our classes is made with more than three values by position, but for the `rows` of tables."""
    ours = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return [
        f"{module}:{call.lineno} {name}"
        for module, tree in trees.items()
        for name, call in _calls(tree, "")
        if name in ours - rows.keys()
        and sum(not isinstance(argument, ast.Starred) for argument in call.args) > MOST_POSITIONAL
    ]


def _calls(node: ast.AST, within: str) -> Iterator[tuple[str, ast.Call]]:
    """With the name of what is called; `cls` is the class around it."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Call(func=ast.Name(id="cls")):
                yield within, child
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield name, child
        yield from _calls(child, child.name if isinstance(child, ast.ClassDef) else within)


def set_from_outside(trees: Mapping[str, ast.Module]) -> list[str]:
    """Callables that are not given to what calls them when it is made, but put into it later."""
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    anywhere = {name for one in classes for name in _callable_attributes(one)}
    found = []
    for module, tree in trees.items():
        for within, function in _methods(tree):
            for target, value in _assignments(function):
                own = isinstance(target.value, ast.Name) and target.value.id == "self"
                known = _callable_attributes(within) if own and within is not None else anywhere
                if own and function.name == "__init__":
                    late = target.attr in known and _is_filler(value)
                else:
                    late = (target.attr in known or isinstance(value, ast.Lambda)) and not _is_none(value)
                if late:
                    found.append(f"{module}:{target.lineno} {ast.unparse(target)}")
    return found


def _methods(node: ast.AST, within: ast.ClassDef | None = None) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """All functions, with the class that they are of."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield within, child
        yield from _methods(child, child if isinstance(child, ast.ClassDef) else within)


def _is_none(value: ast.expr | None) -> bool:
    """Nothing is called any more."""
    return isinstance(value, ast.Constant) and value.value is None


def _is_filler(value: ast.expr | None) -> bool:
    """What stands in an attribute until somebody sets it: a lambda that does nothing, None, or not even that."""
    idle = isinstance(value, ast.Lambda) and isinstance(value.body, (ast.Constant, ast.Name))
    return value is None or _is_none(value) or idle


def _assignments(function: Function) -> Iterator[tuple[ast.Attribute, ast.expr | None]]:
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from ((target, value) for target in targets if isinstance(target, ast.Attribute))
            case ast.AnnAssign(target=ast.Attribute() as target, value=value):
                yield target, value


def _callable_attributes(within: ast.ClassDef) -> set[str]:
    """Attributes that hold a callable by their annotation, or that of the parameter that is put into them."""
    found = set()
    for function in (node for node in ast.walk(within) if isinstance(node, Function)):
        parameters = {
            argument.arg
            for argument in (*function.args.args, *function.args.kwonlyargs)
            if argument.annotation is not None and _is_callable(argument.annotation)
        }
        found |= {
            target.attr
            for target, value in _assignments(function)
            if isinstance(value, ast.Name) and value.id in parameters
        }
    for node in ast.walk(within):
        match node:
            case ast.AnnAssign(target=ast.Attribute(attr=name) | ast.Name(id=name)) if _is_callable(node.annotation):
                found.add(name)
    return found


def _is_callable(annotation: ast.expr) -> bool:
    """`Callable[…]`, or None instead; a dict of such is not one."""
    match annotation:
        case ast.BinOp(left=left):
            return _is_callable(left)
        case ast.Subscript(value=ast.Name(id="Callable")):
            return True
    return False


def main() -> None:
    """Prints it all."""
    trees = sources("supervisor", "metrics", "popular")
    for found in (long_signatures(trees), long_calls(trees, {}), set_from_outside(trees)):
        print(*found, "", sep="\n")


if __name__ == "__main__":
    main()
