"""The AUTHORIZATION state: what the proxy makes of a client's commands before the login, up to the question who it is.

    USER, PASS          a name, a password
    UTF8, LANG          how the client is to be spoken to, where the backends can do that (RFC 6856)

The second of the six classes of which the machine is made: behind `client_side.py` (lines, TLS), in front of
`exchanges.py` (AUTH, APOP). Pure, as they all are.
"""

from collections.abc import Callable

from popular import messages
from popular.pdm.contract import Question, Secret
from popular.protocol import replies, sasl
from popular.protocol.capabilities import with_lines
from popular.protocol.commands import VERBS, State, parse
from popular.protocol.international import LANG, UTF8, lang
from popular.protocol.replies import Code
from popular.protocol.sasl import LONGEST_NAME
from popular.proxy.session.backend.refusals import OWN_WORDS
from popular.proxy.session.machine.client_side import BYE, MODULE_SECONDS, ClientSide
from popular.proxy.session.machine.holds import AskBehind, Hold, RefuseBehind
from popular.proxy.session.machine.phases import ASKING, HELD, NAMED
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.who import Who, who_asks
from popular.proxy.settings.limits import OF_VSERV
from supervisor.octets import find, is_plain, namedtuple_of, part, word_at

_BLANK = 32
_NOT_SHOWN = tuple(Question._field_defaults.values())[1:]
"""The last fields of a Question, behind `certificate_name`, empty: whoever says USER and PASS shows nothing else."""
_SEND_PASS = replies.ok("send PASS")


def name_of(octets: bytes) -> str:
    """A user name, if there can be such a one. Raises BadResponse."""
    if is_plain(octets) and 0 < len(octets) <= LONGEST_NAME:
        return octets.decode("ascii")
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise sasl.BadResponse("the user name is not UTF-8") from None
    if not name.isprintable():
        raise sasl.BadResponse("the user name has control characters")
    if not name or len(octets) > LONGEST_NAME:
        raise sasl.BadResponse(f"the user name is empty, or too long; allowed: {LONGEST_NAME} octets")
    return name


class Authorization(ClientSide):
    """One session, as far as its client has not logged in."""

    __slots__ = ("_asked_at", "_charged", "_commands", "_denied", "_failures", "_words")

    def _set_up(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int]) -> None:
        ClientSide._set_up(self, verbs, around, peer)
        self._commands = 0
        self._failures = 0
        self._charged = False
        """A guess was charged to the client's network; whether it was one, a wrong login, is not known yet."""
        self._asked_at = 0.0
        """When somebody was asked last what is to become of the client, if `times` of the surroundings want to know."""
        self._denied: Code | None = None
        """The client is refused, and is told so when it has answered to the reason (a challenge of its mechanism)."""
        self._words = ""
        """What the client is told when it is refused, instead of ours: those of a module."""

    def _command(self, line: bytes) -> None:
        """A command in the AUTHORIZATION state."""
        self._commands += 1
        if self._commands > self._rules.maxcommands:
            self._verbs.send(replies.err("too many commands before the login"))
            self._end("too_many_commands")
            return
        blank = find(line, _BLANK)
        argument = b"" if blank < 0 else part(line, blank + 1, len(line))
        known = _row_of(line, blank)
        if known is None:
            self._not_here(parse(line).keyword)
        elif known.alone != known.with_argument and known.alone != known.has_nothing(argument):
            self._error(f"{known.keyword} takes {'no' if known.alone else 'an'} argument")
        elif known is _USER:  # in nearly every login: called directly, at a third of the price
            self._name(argument)
        elif known is _PASS:
            self._password(argument)
        else:
            known.answer(self, argument)

    def _not_here(self, keyword: str) -> None:
        self._error(f"{keyword} is for after the login" if keyword in VERBS else "unknown command")

    # Commands

    def _not_offered(self) -> None:
        self._error(self._offer.refusal or "this way to log in is not offered here")

    def _name(self, argument: bytes) -> None:
        if not self._offer.user:
            self._not_offered()
            return
        try:
            self.user, self.namespace = self._split_namespace(name_of(argument))
        except sasl.BadResponse as error:
            self._error(str(error))
            return
        self.mechanism = ""
        self._move(NAMED)
        self._verbs.send(_SEND_PASS)

    def _split_namespace(self, name: str) -> tuple[str, str]:
        """`name=namespace` only under the namespace USER; otherwise the client has no say in it. Raises BadResponse."""
        if self._rules.namespace != "USER":
            return name, self._rules.namespace
        user, equals, namespace = name.rpartition("=")
        if not equals:
            return name, self._rules.defaultns
        if not user:
            raise sasl.BadResponse("the user name is empty")
        return user, namespace or self._rules.defaultns

    def _password(self, argument: bytes) -> None:
        rules = self._rules
        if not self._offer.user:
            self._not_offered()
        elif self.phase is not NAMED:
            self._error("say USER first")
        elif rules.state == "fake":
            self._simulate()
        else:
            self._secret = secret = Secret(argument)
            name = self._certificate_name
            facts = (self.peer_ip, rules.protocol, self.namespace, self.user, secret, rules.vserv, name)
            question = namedtuple_of(Question, facts + _NOT_SHOWN)
            if self._failures:
                question = question._replace(attempt=self._failures + 1)
            self._put(question)

    def _put(self, question: Question) -> None:
        """Asks the modules, unless the client has gone meanwhile: at once, or when its turn has come."""
        self._move(ASKING)
        if self._is_gone():
            self._end("client_closed")
        elif self._around.guards:
            self._ask_in_turn(question)
        else:
            self._ask(question)

    def _ask(self, question: Question) -> None:
        self._note_time()
        self._verbs.ask(question, MODULE_SECONDS)

    def _note_time(self) -> None:
        """From now on the client waits for what becomes of it."""
        if self._around.times is not None:
            self._asked_at = self._around.times.moment()

    # Limits, and who does not come in

    def _ask_in_turn(self, question: Question) -> None:
        """Puts the question to the modules: at once, or, for a network that guesses too fast, when its turn has come.
        Where that would be too late the client is refused for now, and no module is asked.
        """
        seconds, hindrance = self._around.limits.wait(who_asks(question))
        if hindrance is not None:
            self._secret = self._question = None
            self._failures += 1
            self._note_hindrance(hindrance.limit)
            self._hold_back(seconds, RefuseBehind(hindrance.code))
            return
        self._charged = True
        if seconds:
            self._hold_back(seconds, AskBehind(question))
            self._verbs.expect(seconds)  # also beyond the time for the login: nobody's turn comes sooner by its end
        else:
            self._ask(question)

    def _note_hindrance(self, limit: str) -> None:
        rules = self._rules
        fields: dict[str, object] = {"client": self.peer_ip, "vserv": rules.vserv, "namespace": self.namespace}
        self._verbs.note(messages.LOGIN_LIMITED, {**fields, "user": self.user, "limit": limit})
        self._verbs.count("limited", limit, "")
        if limit in OF_VSERV:
            self._verbs.count("vserv_limited", limit, rules.vserv)

    def _hold_back(self, seconds: float, hold: Hold, at_least: float = 0.0) -> None:
        self._hold = hold
        self._move(HELD)
        self._verbs.hold(seconds, at_least)

    def _deny(self, code: Code) -> None:
        """Sends the -ERR. Behind `maxfailures` wrong logins the session ends with it."""
        self._verbs.send(replies.err(self._words or OWN_WORDS[code], code))
        self._words = ""
        if self._failures >= self._rules.maxfailures:
            self._end("too_many_failures")

    def _whom(self) -> Who:
        """Whom limits are asked about."""
        return Who(self.peer_ip, self.namespace, self.user)

    def _no_guess(self) -> None:
        """Nobody could tell whether the password is right: what was charged for a guess is given back."""
        if self._charged:
            self._charged = False
            self._around.limits.no_guess(self._whom())

    # Commands that are no login

    def _capa(self, _argument: bytes) -> None:
        self.asked = True
        more = self._international().capabilities(self._rules.international)
        self._verbs.send(with_lines(self._announced_offer().capa, more))

    def _say_utf8(self, _argument: bytes) -> None:
        """RFC 6856 section 2.1. The backend is told in front of the login."""
        if UTF8 not in self._rules.international or not self._international().utf8:
            self._error("UTF8 is not offered here")
            return
        self._utf8 = True
        self._verbs.send(replies.ok("UTF-8 from now on"))

    def _lang(self, argument: bytes) -> None:
        """RFC 6856 section 3.2. As UTF8; what is listed are the languages that all backends have."""
        languages, words = self._international().languages, argument.split()
        if LANG not in self._rules.international or not languages:
            self._error("LANG is not offered here")
        elif len(words) > 1:
            self._error("LANG takes one language, or no argument")
        else:
            reply, chosen = lang(languages, words)
            self._language = chosen or self._language
            self._verbs.send(reply)

    def _quit(self, _argument: bytes) -> None:
        self._verbs.send(BYE)
        self._end("quit")

    # Ways to log in that are no USER and PASS: see exchanges.py

    def _auth(self, argument: bytes) -> None:
        """AUTH MECHANISM."""
        raise NotImplementedError

    def _apop(self, argument: bytes) -> None:
        """APOP NAME DIGEST."""
        raise NotImplementedError


class CommandRow:
    """A command before the login, as the client may say it: with an argument, alone, or either way."""

    __slots__ = ("alone", "answer", "blanks_count", "keyword", "with_argument")

    def __init__(self, keyword: str, answer: Callable[[Authorization, bytes], None], *, blanks_count: bool) -> None:
        """`blanks_count`: an argument of nothing but blanks is one."""
        either = keyword in ("AUTH", "LANG")
        self.keyword = keyword
        self.answer = answer
        self.alone = either or not VERBS[keyword].fewest
        self.with_argument = either or not self.alone
        self.blanks_count = blanks_count

    def has_nothing(self, argument: bytes) -> bool:
        """Whether that is no argument."""
        if not argument or self.blanks_count:
            return not argument
        return argument[0] <= _BLANK and not argument.strip()


def _directly(_machine: Authorization, _argument: bytes) -> None:
    raise AssertionError("_command calls it by its name")


_ANSWERS: dict[str, Callable[[Authorization, bytes], None]] = {
    "USER": _directly,
    "PASS": _directly,
    "APOP": lambda machine, argument: machine._apop(argument),  # by name: the class behind this one has it
    "AUTH": lambda machine, argument: machine._auth(argument),
    "CAPA": Authorization._capa,
    "STLS": Authorization._stls,
    "UTF8": Authorization._say_utf8,
    "LANG": Authorization._lang,
    "QUIT": Authorization._quit,
}
_COMMANDS = {
    # A password may be blanks only: all behind the first blank is it (RFC 1939 section 7).
    verb.keyword.encode(): CommandRow(verb.keyword, _ANSWERS[verb.keyword], blanks_count=verb.keyword == "PASS")
    for verb in VERBS.values()
    if State.AUTHORIZATION in verb.states
}
_USER, _PASS = _COMMANDS[b"USER"], _COMMANDS[b"PASS"]
_USER_WORD, _PASS_WORD = word_at(b"USER"), word_at(b"PASS")


def _row_of(line: bytes, blank: int) -> CommandRow | None:
    """The command's. Those of nearly every login are found without a dictionary."""
    if blank == len(b"USER"):
        word = word_at(line)
        if word == _USER_WORD:
            return _USER
        if word == _PASS_WORD:
            return _PASS
    keyword = line if blank < 0 else part(line, 0, blank)
    return _COMMANDS.get(keyword.upper())
