"""A plain login as the client sees it: the greeting, its lines, USER and PASS, up to the question who it is; and which
commands there are before the login, with what argument, and which user names.

One of the classes of which the machine is made (machine.py lists them). Pure, as they all are.
"""

from collections.abc import Callable

from popular.pdm.contract import Question, Secret
from popular.protocol import replies, sasl
from popular.protocol.commands import VERBS, State, parse
from popular.protocol.lines import LONGEST_COMMAND, LineTooLong, NullByte
from popular.protocol.sasl import LONGEST_NAME
from popular.proxy.session.machine.client_side import BYE, HEADER_SECONDS
from popular.proxy.session.machine.failed_logins import FailedLogins
from popular.proxy.session.machine.holds import ThenAsk, ThenRefuse
from popular.proxy.session.machine.machine_state import MOST_HELD
from popular.proxy.session.machine.phases import ASKING, EXCHANGING, NAMED, SIMULATING
from popular.proxy.session.who import who_asks
from popular.proxy.settings.vserv import POP3S
from supervisor.octets import find, is_plain, namedtuple_of, part, word_at

LINES_A_TURN = 4
"""Lines of a client that are answered before all others get their turn."""
MODULE_SECONDS = 30.0

_BLANK = 32
_SHOWN = ("client_ip", "protocol", "namespace", "user", "password", "vserv", "certificate_name")
assert Question._fields[: len(_SHOWN)] == _SHOWN, "`_password` makes a Question by the places of its fields"
_NOT_SHOWN = tuple(Question._field_defaults[name] for name in Question._fields[len(_SHOWN) :])
"""The fields after those, empty: whoever says USER and PASS shows nothing else."""
_SEND_PASS = replies.ok("send PASS")


class CommandRow:
    """A command before the login, as the client may say it: with an argument, alone, or either way."""

    __slots__ = ("alone", "blanks_count", "keyword", "with_argument")

    def __init__(self, keyword: str) -> None:
        either = keyword in ("AUTH", "LANG")
        self.keyword = keyword
        self.alone = either or not VERBS[keyword].fewest
        self.with_argument = either or not self.alone
        self.blanks_count = keyword == "PASS"
        """An argument of nothing but blanks is one: all after the first blank is the password (RFC 1939 section 7)."""

    def takes(self, argument: bytes) -> bool:
        """Whether the command may be said so."""
        return (self.alone and self.with_argument) or self.alone == self._is_none(argument)

    def _is_none(self, argument: bytes) -> bool:
        if not argument or self.blanks_count:
            return not argument
        return argument[0] <= _BLANK and not argument.strip()


_COMMANDS = {
    verb.keyword.encode(): CommandRow(verb.keyword) for verb in VERBS.values() if State.AUTHORIZATION in verb.states
}
_USER, _PASS = _COMMANDS[b"USER"], _COMMANDS[b"PASS"]
_USER_WORD, _PASS_WORD = word_at(b"USER"), word_at(b"PASS")


class Authorization(FailedLogins):
    """One session, as far as its client has not logged in."""

    __slots__ = ()

    # The beginning

    def begin(self) -> None:
        """The connection is there."""
        trusted = self._rules.trusted
        if trusted is None:
            self._greet()
        elif self.peer_ip in trusted:
            self._verbs.await_header(HEADER_SECONDS)
        else:
            self.header_failed("it is not in trusted")

    def _greet(self) -> None:
        rules = self._rules
        if self._verbs.is_blocked(self.peer_ip):
            self._end("blocked")
        elif rules.protocol == POP3S and not self._in_tls:
            self._start_tls()
        elif rules.state == "disabled":
            self._verbs.send(rules.refusal)
            self._end("vserv_disabled")
        else:
            self._verbs.send(rules.greeting if not rules.apop else self._greeting_with_challenge())

    def _challenge(self, number: int) -> bytes:
        """0 is that of the greeting."""
        return self._rules.challenges.of(self._sid, number)

    def _greeting_with_challenge(self) -> bytes:
        """RFC 1939 section 7."""
        return self._rules.greeting[:-2] + b" " + self._challenge(0) + b"\r\n"

    # Lines

    def client_says(self, data: bytes) -> None:
        """The client sent this."""
        self.lines.feed(data)
        self._answer_lines()

    def client_eof(self) -> None:
        """The client will send nothing more. What it sent before is still answered, unless it `is_gone`.

        One that has said nothing of what was expected is a health check, and nobody's fault.
        """
        self._client_eof = True
        if (self._owes_answer() and self._is_gone()) or self._expects_first_word():
            self._end("client_closed")
        else:
            self._answer_lines()

    def _is_gone(self) -> bool:
        """Whether nobody waits for the answer to PASS: the client sends nothing more, and PASS was its last word.

        After that nothing could be done for it, and whoever is asked for it is asked in vain. A client with commands
        after PASS has only closed its half: it is served to its end.
        """
        return self._client_eof and not self.lines.held

    def _answer_lines(self) -> None:
        """Answers the lines that are there, as far as the phase allows."""
        lines = self.lines
        left = LINES_A_TURN
        while lines.held and self._takes_lines():
            if not left:
                self._has_yielded = True
                self._verbs.yield_turn()
                return
            left -= 1
            try:
                line = lines.next_line()
            except NullByte:
                self._null_byte()
                return
            except LineTooLong:
                if self._may_be_longer():
                    continue
                self._verbs.send(replies.err("the line is too long"))
                self._end("line_too_long")
                return
            if line is None:
                break
            if self.phase is SIMULATING:
                self._simulated(line)
            elif self.phase is EXCHANGING:
                self._response(line)
            else:
                self._command(line)
        if self._client_eof and self._takes_lines():
            self._end("client_closed")

    def _may_be_longer(self) -> bool:
        """AUTH has long initial responses, against RFC 5034: some clients know no other way to show a token."""
        lines = self.lines
        if self.phase is SIMULATING or lines.limit != LONGEST_COMMAND or lines.held[:5].upper() != b"AUTH ":
            return False
        lines.limit = MOST_HELD
        return True

    def proceed(self) -> None:
        """All others have had their turn."""
        self._has_yielded = False
        self._answer_lines()

    def _command(self, line: bytes) -> None:
        """A command in the AUTHORIZATION state."""
        self._commands_said += 1
        if self._commands_said > self._rules.maxcommands:
            self._verbs.send(replies.err("too many commands before the login"))
            self._end("too_many_commands")
            return
        blank = find(line, _BLANK)
        argument = b"" if blank < 0 else part(line, blank + 1, len(line))
        known = _row_of(line, blank)
        if known is None:
            self._not_here(parse(line).keyword)
        elif not known.takes(argument):
            self._error(f"{known.keyword} takes {'no' if known.alone else 'an'} argument")
        elif known is _USER:  # in nearly every login: called directly, at a third of the price
            self._name(argument)
        elif known is _PASS:
            self._password(argument)
        else:
            _ANSWERS[known.keyword](self, argument)

    def _not_here(self, keyword: str) -> None:
        self._error(f"{keyword} is for after the login" if keyword in VERBS else "unknown command")

    # USER and PASS

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
            if name:
                question = self._as_named(question)
            self._put(question)

    def _as_named(self, question: Question) -> Question:
        """Under the namespace USER: who vouches for `joe` vouches for nobody of this name in another namespace."""
        rules = self._rules
        if rules.namespace != "USER" or not (question.certificate_name or question.token):
            return question
        question = question._replace(defaultns=rules.defaultns)
        return question._replace(certificate_name=question.own_name(question.certificate_name))

    def _put(self, question: Question) -> None:
        """Asks the modules, unless the client has gone meanwhile: at once, or when its turn has come."""
        self._move(ASKING)
        if self._is_gone():
            self._end("client_closed")
        elif self._around.counts_guesses:
            self._ask_in_turn(question)
        else:
            self._ask(question)

    def _ask_in_turn(self, question: Question) -> None:
        """Puts the question to the modules: at once, or, for a network that guesses too fast, when its turn has come.
        Where that would be too late the client is refused for now, and no module is asked.
        """
        seconds, hindrance = self._around.limits.charge_guess(who_asks(question))
        if hindrance is not None:
            self._secret = self._question = None
            self._failures += 1
            self._note_hindrance(hindrance.limit)
            self._hold_back(seconds, ThenRefuse(hindrance.code))
            return
        self._charged = True
        if seconds:
            self._hold_back(seconds, ThenAsk(question))
            self._verbs.expect(seconds)  # also beyond the time for the login: nobody's turn comes sooner by its end
        else:
            self._ask(question)

    def _ask(self, question: Question) -> None:
        self._note_time()
        self._verbs.ask(question, MODULE_SECONDS)

    def _note_time(self) -> None:
        """From now on the client waits for what becomes of it."""
        if self._around.times is not None:
            self._asked_at = self._around.times.moment()

    def _not_offered(self) -> None:
        self._error(self._offer.refusal or "this way to log in is not offered here")

    def _quit(self, _argument: bytes) -> None:
        self._verbs.send(BYE)
        self._end("quit")

    # What a subclass has: AUTH and APOP (exchanges.py)

    def _auth(self, argument: bytes) -> None:
        """`Exchanges._auth`."""
        raise NotImplementedError

    def _apop(self, argument: bytes) -> None:
        """`Exchanges._apop`."""
        raise NotImplementedError

    def _response(self, line: bytes) -> None:
        """`Exchanges._response`."""
        raise NotImplementedError


_ANSWERS: dict[str, Callable[[Authorization, bytes], None]] = {
    "APOP": lambda machine, argument: machine._apop(argument),  # by name: a subclass has it
    "AUTH": lambda machine, argument: machine._auth(argument),
    "CAPA": Authorization._capa,
    "STLS": Authorization._stls,
    "UTF8": Authorization._say_utf8,
    "LANG": Authorization._lang,
    "QUIT": Authorization._quit,
}
"""What answers a command; USER and PASS are not among them, which `_command` calls by their names."""


def _row_of(line: bytes, blank: int) -> CommandRow | None:
    """The command's, whose first blank is there. Those of nearly every login are found without a dictionary."""
    if blank == len(b"USER"):
        word = word_at(line)
        if word == _USER_WORD:
            return _USER
        if word == _PASS_WORD:
            return _PASS
    keyword = line if blank < 0 else part(line, 0, blank)
    return _COMMANDS.get(keyword.upper())


def name_of(octets: bytes) -> str:
    """A user name, if there can be such a one. Raises BadResponse.

    `joe PASS secret`, two commands in one line, is none: log, table and pages show names.
    """
    if find(octets, _BLANK) >= 0 and b"PASS" in octets.upper().split()[1:-1]:
        raise sasl.BadResponse("PASS stands in a line of its own")
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
