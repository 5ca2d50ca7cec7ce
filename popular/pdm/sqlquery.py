"""The operator's query: which parameters it has, and how each driver wants them written. Pure."""

import re
from collections.abc import Sequence

from popular.pdm.contract import ModuleFailed

PARAMETERS = ("user", "name", "domain", "namespace", "vserv", "address")
OF_LOGIN = ("vserv", "address")
"""Those that only a login has."""
OF_UPDATE = ("user", "name", "domain", "namespace", "backend")
"""Parameters of the query by which a user is led to another backend."""

# A colon within a text, a quoted name, a comment or a cast (`::text`) is no parameter's.
_PIECES = re.compile(
    r"'(?:[^']|'')*' | \"(?:[^\"]|\"\")*\" | `[^`]*` | --[^\n]* | /\*.*?\*/ | :: | :([A-Za-z_]\w*)",
    re.DOTALL | re.VERBOSE,
)


class Query:
    """A query with named parameters (`:user`), as it was written, and as drivers take it."""

    def __init__(self, text: str, known: Sequence[str] = PARAMETERS) -> None:
        """Raises ModuleFailed if it has none of the parameters of a user, or one that is unknown."""
        self.text = text.strip().removesuffix(";")
        names = {match[1] for match in _PIECES.finditer(self.text) if match[1]}
        for name in sorted(names - set(known)):
            allowed = ", ".join(f":{one}" for one in known)
            raise ModuleFailed(f"sql: ':{name}' in the query means nothing; allowed: {allowed}")
        if not names & {"user", "name"}:
            raise ModuleFailed("sql: the query asks for no user: it needs :user, or :name and :domain")
        self.names = frozenset(names)

    @property
    def by_address(self) -> bool:
        """Whether what it finds depends on the client's address."""
        return "address" in self.names

    @property
    def takes_a_login(self) -> bool:
        """Whether it asks for what is known of a login, beside the user."""
        return not self.names.isdisjoint(OF_LOGIN)

    @property
    def pyformat(self) -> str:
        """With `%(user)s` for `:user`, and percent signs doubled."""
        written, end = [], 0
        for match in _PIECES.finditer(self.text):
            written.append(self.text[end : match.start()].replace("%", "%%"))
            written.append(f"%({match[1]})s" if match[1] else match[0].replace("%", "%%"))
            end = match.end()
        return "".join(written) + self.text[end:].replace("%", "%%")
