"""The contract between the proxy and an authentication module.

A module named NAME is a Python module file `libpdm_NAME` (source or compiled) in the directory `pdmdir`. It has one
function,

    open_module(ident: str, arguments: Sequence[str]) -> Module

`ident` is the id that the operator chose, `arguments` are the words after the module's
name in `pdm add ID MOD ARG ...`. If it cannot start it raises `ModuleFailed` with a text for people.

Two questions are put to a module, and it answers at least one of them. `check`: who is this, where is his mail, is the
password right? `authenticate`: can you vouch for this user, whom another module has found but would not let in?

It answers `check` by one of four: `Authenticated`, `Refused` (I know him, but not so), `Unknown`, or `CannotTell`; and
where it is asked for keys (SCRAM, `KeysWanted`), by `Provable` instead of `Authenticated`: the proxy tries itself
whether the client has the password of which the keys are made; or by `HandedOn`, where a server behind the module tries
that, and keeps the keys. A database that is down, a time-out and an error of its
own are *cannot tell*, never *unknown*: what nobody knows may be tried at the `fallback` backend, and that one must not
see the passwords of our own users while a database is down.

There are two kinds, which say the same and differ in where they are asked.

- `Module` answers by plain functions. With `blocking` they are called in threads, of which every module has a few of
  its own; one object is asked from several at once, so it changes nothing in itself while it answers.
- `AsyncModule` answers by coroutines, on the event loop of a worker, where thousands may wait at once and hold no
  thread. It never blocks that loop: no file, no lookup of a host name, no password hash without `asyncio.to_thread`.

A module never sees the connection, and never writes a secret anywhere: not into a text, not into a log. `open_module`
reads files, and imports libraries (`popular.pdm.arguments` has helpers), but connects to nothing: a proxy is to start,
and to serve the others, while a database is down.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from popular.pdm.secret import Secret as Secret  # a name of the contract
from popular.protocol.sasl import digest_of
from popular.protocol.scram import ScramKeys

PASSWORD, TOKEN, CHALLENGE, CERTIFICATE, SCRAM = "password", "token", "challenge", "certificate", "scram"
"""The kinds of credential that a client may give, and a module may take (`Module.takes`)."""
RESPONSE = "response"
"""The kind of what a client says in an exchange that one module hands on: no other one is ever asked about it."""


class Token(NamedTuple):
    """What a client shows instead of a password, got from an identity provider (XOAUTH2, OAUTHBEARER)."""

    mechanism: str
    secret: Secret


class ChallengeAnswer(NamedTuple):
    """What a client shows that has a password and does not say it: its answer to a challenge of ours (CRAM-MD5, APOP).

    Only who has the password itself can tell whether it is right, not who has a hash of it.
    """

    mechanism: str
    challenge: bytes
    digest: bytes

    def proves(self, secret: Secret) -> bool:
        """Whether the client has this password, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(self.digest, digest_of(self.mechanism, self.challenge, secret.reveal()))


class CertificateShown(NamedTuple):
    """What a client shows instead of a password that relies on its certificate alone (EXTERNAL). Whose it is stands in
    `Question.certificate_name`: it was verified, and the user that is asked for need not be the one that it names.
    """

    mechanism: str = "EXTERNAL"


class KeysWanted(NamedTuple):
    """The client will prove that it has the password (SCRAM-SHA-256); the module is asked for what that is tried by.

    `salt` is for who has no keys, but the password itself, and has to make keys of it, which takes time
    (`popular.protocol.scram.keys_of`): of its 64 octets as many as usual. It is always the same for one user: with
    another one each time, who exists could be told from who does not. It is for decoys too.

    `first` is the client's first message, for who hands the exchange on to a server (`HandedOn`).
    """

    mechanism: str
    salt: bytes
    first: bytes = b""


class ClientResponse(NamedTuple):
    """What a client says to a challenge that the server behind a module has made (`HandedOn`). The proxy puts it to
    that module alone, by its `respond`; `check` never sees it.
    """

    mechanism: str
    module: str
    said: bytes
    respond: "Callable[[bytes], Answer | Awaitable[Answer]]"
    doubt: str = ""
    """Which modules cannot tell, if any: then a refusal is none, but nobody can tell."""

    def __repr__(self) -> str:
        return "ClientResponse(****)"


Proof: TypeAlias = ChallengeAnswer | CertificateShown | KeysWanted | ClientResponse
Credential: TypeAlias = Secret | Token | Proof
"""A password, or what comes instead of one. More kinds may come, so ask for the one that you take."""

_KINDS: Mapping[type, str] = {
    Token: TOKEN,
    ChallengeAnswer: CHALLENGE,
    CertificateShown: CERTIFICATE,
    KeysWanted: SCRAM,
    ClientResponse: RESPONSE,
}


class Question(NamedTuple):
    """What is known of a client when it has sent its password, or what it has instead of one.

    `client_ip` is text, IPv4 or IPv6; `protocol` is "POP3" or "POP3s"; `namespace` and `vserv` are ids.
    `certificate_name` is from the client's verified certificate, "" if it showed none: its first e-mail address or host
    name (subjectAltName), else its common name; `own_name` of it, so that it may be compared with `user`. It vouches
    for nothing unless the module says so. `tls_version` and
    `tls_cipher` are OpenSSL's names, "" where the client speaks in clear. With a `token`, the `password` is empty and
    means nothing; so it is with a `proof`. Only modules that take this kind are asked.

    `actor`: somebody else, whose password it is (the authentication id of SASL, where `user` is the authorization id).
    He comes in only where a module vouches for him in the second round.
    """

    client_ip: str
    protocol: str
    namespace: str
    user: str
    password: Secret
    vserv: str
    certificate_name: str = ""
    tls_version: str = ""
    tls_cipher: str = ""
    token: Token | None = None
    proof: Proof | None = None
    actor: str = ""
    attempt: int = 1
    """Which one it is in this session: 2 after a wrong login."""
    certificate: bytes = b""
    """The client's verified certificate itself (DER); empty if it showed none."""
    defaultns: str = ""
    """Where the client itself says the namespace, as `name=namespace`: that of a name without one. Else empty. Known
    where somebody else than the client may have written a name: a certificate, a token.
    """

    @property
    def credential(self) -> Credential:
        """What the client has shown: a password as a Secret, or something else."""
        return self.token or self.proof or self.password

    @property
    def kind(self) -> str:
        """PASSWORD, TOKEN, CHALLENGE, CERTIFICATE, SCRAM or RESPONSE."""
        return _KINDS.get(type(self.credential), PASSWORD)

    def own_name(self, name: str) -> str:
        """A name that somebody vouches for (who signs a certificate, or a token), to be compared with `user`: it is
        read as the client's own is, and one in another namespace, who is another person, is nobody, "".
        """
        if not self.defaultns:
            return name
        user, equals, namespace = name.rpartition("=")
        if not equals:
            user, namespace = name, ""
        return user if (namespace or self.defaultns) == self.namespace else ""


class Route(NamedTuple):
    """Where a user's mail is.

    `target` is the mailbox for an XPOP or CXPOP backend, and the user name for a POP3 backend; None = the client's own
    name. `secret` is the password for a POP3 backend; None = the client's own, which no backend is sent where another
    module vouched for the user (it is not his own then). `flags` are XPOP flag letters, as "M".
    """

    backend: str
    target: str | None = None
    secret: Secret | None = None
    flags: str = ""
    server: tuple[str, int] | None = None
    """Set by the proxy: where such a server is, when `backend` has become the one that it is like."""


class UserLimits(NamedTuple):
    """What counts for this user instead of what counts for all; None: what counts for all."""

    sessions: int | None = None
    """How many he may have at once; 0: as many as he likes."""
    login_delay: int | None = None
    """Seconds from one login of his to the next."""
    account: str = ""
    """As whom he is counted, in his namespace, where clients may write his name in several ways; "": as they do."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such user here.

    `decoy`, if given, does the work that the password of a known user would have cost, and throws the result away. It
    is called at most once, and only if no module knows the user: so the time of the answer does not tell who exists.
    Where several modules offer one, that of the smallest `rank` is called, the first among equals. A module that knows
    N users draws the rank from the name, exponentially with the rate N: then each is called as often as it has users.

    Where keys are wanted it returns some: those that a client shall be shown who does not exist (ScramKeys).

    `second_round`, if given, does the work that `authenticate` would have cost here, had another module refused this
    user. It is called, whoever else is, if no module knows the user.
    """

    decoy: Callable[[], object] | None = None
    rank: float = 0.0
    second_round: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The user is known and may come in; his mail is there.

    `cache`: for how many seconds this may be answered again without asking, where the operator has a cache in front of
    the module; None: as long as he says, 0: not at all.
    """

    route: Route
    limits: UserLimits | None = None
    cache: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The user is known, but so he may not come in: his password is wrong, or he is locked.

    `route`: where his mail is, for who has a master password; None if that is not told to those who have no right
    password, and then no other module can let him in. `locked`: the password is right, or does not matter, and nobody
    comes in, whoever vouches for him. `code` is a response code without brackets that the client gets instead of AUTH
    ("IN-USE", "LOGIN-DELAY"; "SYS/TEMP" and "SYS/PERM" say nothing of the password: that is no wrong login, and no
    cache keeps it), `text` what it is told instead of our words, in printable ASCII: only where that tells no stranger
    who exists. `wait`: seconds that the client has to wait for the reply. `cache`: as in Authenticated. `reason` is for
    the log alone, where there is more to say than that the password is wrong: without secrets.
    """

    route: Route | None = None
    locked: bool = False
    code: str = ""
    wait: float = 0.0
    cache: float | None = None
    text: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Provable:
    """The user is known, and whoever proves that he has the password of these keys may come in; unless he is `locked`:
    then he is shown them all the same, and refused after that. The answer where keys are wanted, and nowhere else.
    """

    keys: ScramKeys
    route: Route
    limits: UserLimits | None = None
    locked: bool = False


@dataclass(frozen=True, slots=True)
class HandedOn:
    """A server behind the module keeps the keys, and tries itself whether the client has their password. The answer
    where keys are wanted, beside Provable; the module stands for whoever is unknown there too, and makes challenges for
    him that look like those of others.

    `challenge` is what the client is told. `respond` is called with what it says to that, in the same way as `check`,
    once or never: clients go away. It gives one more HandedOn, or what came of it: Authenticated, Refused, CannotTell.
    `account`: as UserLimits has it, in the one that tells the client that its proof holds: it is not told so, if that
    account is locked.
    """

    challenge: bytes
    respond: Callable[[bytes], "Answer | Awaitable[Answer]"]
    account: str = ""

    def __repr__(self) -> str:
        return "HandedOn(****)"


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Nothing is known of this user now. `reason` is for the log, without secrets.

    That is an answer like any other: of one user, or the honest word of a server that is there. What concerns everybody
    (no connection, no answer in time) is raised, as ModuleFailed or OSError: the breaker counts it. To the client it is
    the same: this is "[SYS/TEMP] try again later", never "wrong password".
    """

    reason: str


Answer: TypeAlias = Unknown | Authenticated | Refused | Provable | HandedOn | CannotTell

UNKNOWN = Unknown()
"""The answer of a module that does no work for the users it knows."""


class ModuleFailed(Exception):
    """The module cannot answer, or not start. The text is for people and holds no secret.

    To the client this is "[SYS/TEMP] try again later", never "wrong password".
    """


class QuestionFailed(ModuleFailed):
    """Nothing can be told of this one user, but of others it can: his record is faulty, say. The server has answered.

    To the client it is as ModuleFailed; but a module is not left alone (`breaker`) because of one user.
    """


class NeedsPassword(QuestionFailed):
    """What `lookup` raises where this user cannot be looked up without his password."""


class KnownUser(NamedTuple):
    """What a module says of a user without his password, for `explain`."""

    route: Route
    limits: UserLimits | None = None
    locked: bool = False


class AboutModule(Protocol):
    """What is known of a module of either kind."""

    ident: str
    """The id that the operator gave it."""

    arguments: Sequence[str]
    """What it was opened with."""

    flags: str = ""
    """XPOP flag letters that a session gets when this module vouched for a user that another one found."""

    takes: frozenset[str] = frozenset({PASSWORD})
    """The kinds of credential that it looks at. With another kind it is not asked, and counts as one that does not know
    the user.
    """

    by_address: bool = True
    """Whether an answer may depend on the client's address: then what is cached counts for that address only."""

    notes: Sequence[str] = ()
    """What the operator should know of it, a line each and without secrets; told when it is opened or reloaded."""

    skipped: int = 0
    """How many lines of its files are bad and skipped."""

    files: Mapping[str, os.stat_result] = {}
    """The files that it is made of, by path, each with what fstat(2) said when it was read; the proxy reloads the
    module when one is another. Never changed.
    """

    ended: Collection[str] = frozenset()
    """Its `files` that are text and end with a line end. A successor for which one of them does not is not used: that
    file is cut, and what its last line says is not what somebody has written.
    """


class Module(AboutModule, Protocol):
    """One authentication module, ready to answer. Derive from it to get the defaults."""

    blocking: bool = True
    """Whether an answer may wait, or take long. Then it is asked in a thread, never on the event loop."""

    local: bool = False
    """Whether an answer takes nothing but time to compute, and local files. Then no deadline is needed: it is asked in
    the threads that are there for password hashes, and nothing is done for the case that it never answers.
    """

    knows_nobody: bool = False
    """Whether its list of users is empty. One that has had users is not replaced by one without: whatever makes the
    list has failed then, and wrote it all the same.
    """

    def check(self, question: Question) -> Answer:
        """Who is this, and may he in? Raises ModuleFailed if it cannot tell."""
        del question
        return UNKNOWN

    def authenticate(self, question: Question, route: Route) -> bool:
        """Whether this user, whom another module found with this route, may come in. False is "not by me".

        Asked in the second round only. Raises ModuleFailed if it cannot tell.
        """
        del question, route
        return False

    def reload(self) -> "Module":
        """A successor made from the same arguments, with files and connections opened anew.

        The old one goes on answering until the new one is in force, so that a reload that fails changes nothing. It may
        read files, as open_module may: neither is for the event loop. Raises ModuleFailed.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds. Called once, when no question is under way any more; where the worker ends it has
        a second for that.
        """
        return


class AsyncModule(AboutModule, Protocol):
    """An authentication module that answers on the event loop. Derive from it to get the defaults.

    It is told of a deadline that has passed, or of a client that is gone, by `asyncio.CancelledError`. It connects when
    it is first asked (or when `ready` is called), and anew by itself when a connection is lost.
    """

    async def ready(self) -> None:
        """Called once on each worker's loop before the first question, to open a pool, say. Raises ModuleFailed, and
        then it is called again with the next question.
        """
        return

    async def check(self, question: Question) -> Answer:
        """Who is this, and may he in? Raises ModuleFailed if it cannot tell."""
        del question
        return UNKNOWN

    async def authenticate(self, question: Question, route: Route) -> bool:
        """Whether this user, whom another module found with this route, may come in. See Module.authenticate."""
        del question, route
        return False

    def reload(self) -> "AsyncModule":
        """A successor made from the same arguments; called in a thread, see Module.reload. Raises ModuleFailed."""
        ...

    async def close(self) -> None:
        """Gives back what it holds. Called once, on the loop, when no question is under way any more."""
        return


AnyModule: TypeAlias = Module | AsyncModule

LOOKUP = "lookup"
"""A function that a module of either kind may have: `lookup(namespace, user) -> KnownUser | None`, a coroutine where
`check` is one. It needs no password and counts as no login; `explain` asks it. A module that knows no users of its own
says None; NeedsPassword where it cannot tell without one, as all those cannot that do not have this function.
"""

LEAD = "lead"
"""A function that a module of either kind may have: `lead(namespace, user, backend) -> bool`, a coroutine where `check`
is one, called in a thread otherwise. By it `user move` tells where a user's mail is from now on, while nobody can log
in as him: in this process at once, in others when they have read it, it is what the module answers. False: he is
not among its users; nothing has changed then, nor where ModuleFailed is raised. Asked again with the same words it says
True again.
"""

LEADS = "leads"
"""An attribute that a module with LEAD may have: false if it was opened without what that takes."""


class UserAt(NamedTuple):
    """What `lead` is told."""

    namespace: str
    user: str
    backend: str
