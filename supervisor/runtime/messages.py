"""The messages of the log: a message is one row, `NAME = Message(…)`, and stands nowhere else.

Those of the supervisor are here; other files of this name hold the rows of what they log. popular-log(7) is made from
all of them. A number is never reused, and those of the original POPular keep their meaning.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Message(NamedTuple):
    """One entry of the log: four hex digits, a level, one word, and what it means to whom.

    Levels: DBG developer, INF normal course, ERR the user's doing, ADM the administrator should look, SOS critical,
    BUG ours.
    """

    number: int
    level: str
    name: str
    help: str
    most: int = 0
    """What others can cause as often as they like: so many a minute are written by each process, and how many more
    there were is told (LINES_LEFT_OUT). 0: each is written.
    """
    by: str = ""
    """The field that says what it is about: of each so many are written."""


def messages_in(names: Mapping[str, object]) -> tuple[Message, ...]:
    """The rows among the names of a module, in the order in which they stand there."""
    return tuple(value for value in names.values() if isinstance(value, Message))


EACH_MINUTE = 60
"""Lines of one kind, about one thing, by one process."""

START = Message(0x0001, "INF", "start", "The program has started.")
START_FAILED = Message(
    0x0215, "ERR", "start_failed", "The start configuration cannot be put in force; the program ends."
)
LEFT_MAIN_LOOP = Message(0x0004, "BUG", "left_main_loop", "The master's loop ended on an unexpected error.")
SHUTDOWN_SERVER = Message(0x0005, "INF", "shutdown_server", "A shutdown begins; `how` says which of the four.")
GOT_TERM_SIGNAL = Message(0x0133, "INF", "got_term_signal", "The master received a signal that asks for a shutdown.")
SIGNAL_IGNORED = Message(
    0x0134, "INF", "signal_ignored", "A signal came that means nothing to this program; nothing was done."
)
SESSION_STATE = Message(0x0170, "ADM", "session_state", "The number of sessions crossed 80, 90 or 100 % of maxsession.")
LOAD_STATE = Message(
    0x0172, "ADM", "load_state", "Load or pressure crossed 80, 90 or 100 % of its limit; at MAX nobody is accepted."
)

TURNED_AWAY = Message(
    0x0222,
    "ADM",
    "turned_away",
    "Clients that waited in the queue of a socket when the program ended: they were closed without a session.",
)

LOAD_READING = Message(
    0x0173,
    "ADM",
    "load_reading",
    "Load or pressure, for which there is a limit, cannot be read any more (`lost`: the limit does not count) or can "
    "be again (`back`).",
)

WORKER_BORN = Message(0x0200, "INF", "worker_born", "A worker sits in its slot and accepts.")
WORKER_DIED = Message(
    0x0201, "ADM", "worker_died", "A worker ended unexpectedly; its sessions are lost and a successor follows."
)
WORKER_LEFT = Message(0x0202, "INF", "worker_left", "A worker ended because it was asked to.")
WORKER_RETRY = Message(0x0203, "SOS", "worker_retry", "A worker died at birth; the next one waits `pause` seconds.")
NO_BIRTH = Message(
    0x0214, "SOS", "no_birth", "No worker can be born now (out of descriptors or processes?); it is tried every second."
)
SLOT_LENT = Message(
    0x0223,
    "ADM",
    "slot_lent",
    "In a slot nobody has served for some seconds; another slot's worker (`deputy`) accepts its clients meanwhile.",
)
SLOT_TAKEN_BACK = Message(
    0x0224,
    "INF",
    "slot_taken_back",
    "That worker accepts for the slot no longer: somebody serves there again, or another one does it.",
)
SOCKET_AGAIN = Message(
    0x0225,
    "ADM",
    "socket_again",
    "Somebody had deleted a socket of this program in the run directory; it was made anew.",
)
SOCKET_GONE = Message(
    0x0226,
    "ADM",
    "socket_gone",
    "A socket of this program in the run directory is gone and cannot be made anew; it is tried each second.",
)
TOKENS_RECOVERED = Message(0x0204, "INF", "tokens_recovered", "Tokens and rows of a dead worker were taken back.")
COMMAND = Message(0x0205, "INF", "sentence", "A command that changes something was carried out; `uid` is the peer's.")
COMMAND_REFUSED = Message(0x0206, "INF", "sentence_refused", "A command was refused; nothing has changed.")
COMMAND_BUG = Message(
    0x0295, "BUG", "sentence_bug", "A command met an error of ours; it was refused, nothing has changed."
)
AUDIT_LOST = Message(
    0x0290,
    "ADM",
    "audit_lost",
    "A line of the audit log could not be written, such as on a full disk; what it would have told is in `line`.",
    most=EACH_MINUTE,
)
ACCESS_READ = Message(0x0291, "INF", "access_read", "The access file was read anew, and counts from now on.")
ACCESS_FAULTY = Message(
    0x0292, "ADM", "access_faulty", "The access file cannot be used; what was read of it before goes on to count."
)
HISTORY_NOT_KEPT = Message(
    0x0293,
    "ADM",
    "history_not_kept",
    "A configuration that was in force could not be kept in the state directory, what is kept there could not be read, "
    "or a file there is none of ours.",
)
CONFIG_IN_FORCE = Message(
    0x0207, "INF", "config_in_force", "A whole configuration was applied; what is new, gone and changed."
)
HOST_RESOLVED = Message(
    0x0216, "INF", "host_resolved", "A host name of the configuration stands for this address from now on."
)
CONFIG_NOTE = Message(
    0x0219, "ADM", "config_note", "Something that a configuration in force is made of is not all good: what, and why."
)
OTHER_INSTANCE = Message(
    0x0217,
    "ADM",
    "other_instance",
    "Another instance in the run directory serves too; `command` lets it drain and end.",
)
ORPHANS = Message(
    0x0220,
    "ADM",
    "orphans",
    "Workers of an instance whose master was killed finish their sessions, which no other instance sees; `command` "
    "ends them at once.",
)
LOG_REOPENED = Message(0x0208, "INF", "log_reopened", "The log file was opened anew.")
LOG_FAILED = Message(0x0209, "ADM", "log_failed", "The log file could not be opened; the old one stays in use.")
LOG_LINES_LOST = Message(
    0x021A,
    "ADM",
    "log_lines_lost",
    "So many lines of this process could not be written before this one (disk full?).",
)
LINES_LEFT_OUT = Message(
    0x021B,
    "ADM",
    "lines_left_out",
    "Of a kind of lines (`event`), about one thing (`of`), so many more were not written in the last minute.",
)
NOT_CONFIRMED = Message(
    0x0260, "ADM", "not_confirmed", "Nobody has confirmed `draft apply` in time; the configuration before comes back."
)
CANNOT_GO_BACK = Message(
    0x0261, "SOS", "cannot_go_back", "The configuration before `draft apply` cannot come back yet; it is tried again."
)
STATE_NOT_KEPT = Message(
    0x0280,
    "ADM",
    "state_not_kept",
    "What the operator orders is kept in memory only, and forgotten when the program ends: the state directory cannot "
    "be used. If there is a file that cannot be read, nothing of it is in force; it is left as it is, and tried again "
    "with each order and once a minute.",
    most=EACH_MINUTE,
)
STATE_DAMAGED = Message(
    0x0281,
    "ADM",
    "state_damaged",
    "The file of what the operator has ordered cannot be read as such: it was set aside, and what is in force is kept "
    "anew; at a start that is nothing.",
)
ORDER_UNDONE = Message(
    0x0282,
    "ADM",
    "order_undone",
    "The program was killed in the middle of something that is done whole or not at all: it was taken back.",
)
STATE_TAKEN_UP = Message(
    0x0284,
    "INF",
    "state_taken_up",
    "A newer instance has ended, or was killed, or the file can be read again: what is kept is in force here from now "
    "on. So many orders (`changed`) came, went or became others by that.",
)
ORDER_UNHEEDED = Message(
    0x0285,
    "ADM",
    "order_unheeded",
    "An order that was kept is none that this release can carry out: nothing comes of it, and it stays until it is "
    "ended.",
)
ORDER_TOLD = Message(
    0x0283, "ADM", "order_told", "Another proxy of the cluster has told of an order, which holds here too."
)
ORDER_NOT_TOLD = Message(
    0x0296,
    "ADM",
    "order_not_told",
    "Another proxy of the cluster has told of an order, which does not hold here, for this `reason`.",
    most=1,
    by="reason",
)
ACCEPT_FAILED = Message(
    0x020A,
    "ADM",
    "accept_failed",
    "A worker cannot accept for want of descriptors or memory; clients wait.",
)
WORKER_HANGS = Message(0x020E, "SOS", "worker_hangs", "A worker's loop does not turn any more; it is killed.")
SESSION_BUG = Message(
    0x020B,
    "BUG",
    "session_bug",
    "A session raised an error of ours; it was ended, the worker goes on.",
    most=EACH_MINUTE,
)
FINISHED = Message(0x020C, "INF", "finished", "The master is gone after this line.")
LIMIT_LOW = Message(
    0x020D, "ADM", "limit_low", "The limit of open files does not reach for maxsession sessions in one worker."
)
CODE_UNREADABLE = Message(
    0x0211,
    "ADM",
    "code_unreadable",
    "`--user` may not read Python's own files: whatever is loaded later (modules, certificates) will fail.",
)
DIRECTORY_SHARED = Message(
    0x0218,
    "ADM",
    "directory_shared",
    "Others can write the run or log directory, and could replace what is in it; told once, at the start.",
)
RING_OPENED = Message(0x0240, "INF", "ring_opened", "ringd opened listening sockets; `sockets` so many of the address.")
RING_LENT = Message(0x0241, "INF", "ring_lent", "ringd gave a program the sockets of an address.")
RING_RESTORED = Message(0x0242, "INF", "ring_restored", "ringd was restarted; a program gave it the sockets back.")
RING_DENIED = Message(0x0243, "ADM", "ring_denied", "ringd refused an address to a program, and why.")
RING_CLOSED = Message(0x0244, "INF", "ring_closed", "ringd closed sockets that were given up.")
RING_UNCLAIMED = Message(
    0x0245,
    "INF",
    "ring_unclaimed",
    "Nobody holds an address any more; clients wait for the next program, `keep` seconds.",
)
RING_EXPIRED = Message(
    0x0246, "ADM", "ring_expired", "Nobody claimed an address in time; it is closed, whoever waits there is cut off."
)
RING_PEER_FAULT = Message(0x0247, "ADM", "ring_peer_fault", "A program spoke nonsense to ringd and was cut off.")
RING_STRANGER = Message(0x0248, "ADM", "ring_stranger", "Another user than the permitted one connected to ringd.")
RING_PAUSED = Message(
    0x0249,
    "ADM",
    "ring_paused",
    "ringd has no descriptor left for one more program: those that come wait, and it looks again every second.",
)
RING_BUG = Message(0x024A, "BUG", "ring_bug", "An error of ours ended ringd; its holders keep their sockets.")
RINGD_LOST = Message(
    0x0250, "ADM", "ringd_lost", "ringd does not answer; what is open goes on, nothing new can be opened meanwhile."
)
RINGD_BACK = Message(0x0251, "INF", "ringd_back", "ringd answers again and has been given the sockets back.")
SYSTEMD_UNCLAIMED = Message(
    0x0252, "ADM", "systemd_unclaimed", "systemd passed sockets that no listener wants; they are closed."
)
RINGD_DEAD = Message(
    0x0253,
    "ADM",
    "ringd_dead",
    "Nobody serves the `ringd.ctrl` in the run directory (a killed ringd leaves it): this program binds its ports.",
)
PORT_SHARED = Message(
    0x0254,
    "ADM",
    "port_shared",
    "Another program of this user listens at this port, too, and is no instance in the same run directory: the kernel "
    "deals the clients out among both.",
)
EXPORTER_LISTENS = Message(0x0270, "INF", "exporter_listens", "The exporter answers at this address.")
EXPORTER_WAITS = Message(
    0x0271, "ADM", "exporter_waits", "The exporter cannot have its address yet; it tries again every second."
)
EXPORTER_DIED = Message(0x0272, "ADM", "exporter_died", "The exporter ended; the next one waits `pause` seconds.")
HELPER_DIED = Message(
    0x0275,
    "ADM",
    "helper_died",
    "A process beside the workers that does something for all of them ended; the next one waits `pause` seconds.",
)
HELPER_BUG = Message(0x0276, "BUG", "helper_bug", "Such a process met an error of ours; it goes on.")
EXPORTER_YIELDED = Message(
    0x0274,
    "INF",
    "exporter_yielded",
    "A newer instance serves, this one only drains: it leaves the exporter's address.",
)
EXPORTER_BUG = Message(0x0273, "BUG", "exporter_bug", "The exporter met an error of ours; it goes on.")
PERIODIC_FAILED = Message(
    0x0210, "ADM", "routine_failed", "What the master does by itself from time to time failed; logged once a reason."
)
DEBUG = Message(
    0x0000, "DBG", "debug", "Debug messages all have this number; which ones appear is the `debug` command's matter."
)

SUPERVISOR_MESSAGES = messages_in(globals())
"""All messages of the supervisor and of `ringd`."""
