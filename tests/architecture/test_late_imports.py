"""A daemon imports everything before it gives up its rights: later it may not be able to read its own files, and they
may be those of another release.
"""

import ast

from tests.architecture.tree import sources

SHORT_LIVED = ("popular.programs", "supervisor.pcontrol.")
"""Commands that live for a tenth of a second and do not pay for what they do not need."""
KNOWN = {
    "popular.tls.certificate": "cryptography is heavy, and only the master's children that read certificates need it",
    "supervisor.runtime.logline": "for pdeliver; the daemons have json and datetime anyhow",
}


def test_no_daemon_imports_late() -> None:
    """No function of theirs holds an import, but for those that are named here."""
    late = {
        module
        for module, tree in sources("supervisor", "metrics", "popular").items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {module for module in late if not module.startswith(SHORT_LIVED)} == set(KNOWN)
