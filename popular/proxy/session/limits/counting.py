"""How many sessions somebody has, and when he may come again. Pure: entries in, entries out."""

from popular.proxy.settings.limits import LOGINDELAY, USER_SESSIONS, Limit
from supervisor.table.remembered import Entry


def one_less(entry: Entry) -> tuple[Entry, None]:
    """A session is over."""
    return entry._replace(held=max(0, entry.held - 1)), None


def one_more(entry: Entry, limit: Limit) -> tuple[Entry, bool]:
    """One more session, and whether that is beyond the limit; where the limit is in force it is not counted then."""
    beyond = entry.held >= limit.most
    return (entry if beyond and limit.enforced else entry._replace(held=entry.held + 1)), beyond


def one_more_of_user(entry: Entry, now: float, *, sessions: Limit, pause: Limit) -> tuple[Entry, list[str]]:
    """One more session of a user, who must not come too soon either. In one step: of two at once only one comes in."""
    beyond = []
    if sessions.counts and entry.held >= sessions.most:
        beyond.append(USER_SESSIONS)
    if pause.counts and entry.until > now:
        beyond.append(LOGINDELAY)
    if (USER_SESSIONS in beyond and sessions.enforced) or (LOGINDELAY in beyond and pause.enforced):
        return entry, beyond
    until = now + pause.most if pause.counts else entry.until
    held = entry.held + 1 if sessions.counts else entry.held
    return entry._replace(held=held, until=until), beyond
