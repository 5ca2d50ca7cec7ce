"""The status page: `/`, one HTML page without outside resources, and `/status.json`, which it asks every two seconds.

    page()                       the page, with a policy that lets nothing run but its own script
    status(program, request)       the document of snapshot.py, as the query asks for it

The query of /status.json: filter, sort, desc (1: the largest first), rows (1 to 1000), span (2m or 1h), users (1: names
and addresses in full), thing (as backends/b1: its page, and only its sessions). A query that makes no sense is answered
with 400 and the reason.

Names in full are for who asks over the Unix socket in the run directory, which only those reach who reach the control
socket, or who has the token of `--metrics-token`; a wrong token is answered with 401. For everybody else `users` counts
for nothing, wherever he sits. Names are masked before they are filtered and sorted, so that nothing can be learned by
asking often.
"""

import base64
import functools
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any

from metrics.detail import UnknownThing
from metrics.history import SPANS
from metrics.http import HttpRequest, HttpResponse, text
from metrics.programseen import ProgramSeen
from metrics.selection import UnknownColumn
from metrics.snapshot import MOST_ROWS, PageQuery, document
from metrics.watch import Moment
from supervisor.runtime.httptoken import is_token

HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"

_FIELDS = (("Referrer-Policy", "no-referrer"), ("Cross-Origin-Resource-Policy", "same-origin"))

_MOST_FILTER = 100
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers by which a proxy tells that it asks for somebody else."""
_SWITCHES = {"0": False, "1": True}


class BadQuery(ValueError):
    """The query makes no sense; the text says which part."""


# --- the page ---------------------------------------------------------------------------------------------------------


@functools.cache
def page() -> HttpResponse:
    """The HTML page, put together once."""
    parts = resources.files("metrics") / "web"
    html, style, script = (parts.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    html = html.replace("<style></style>", f"<style>{style}</style>")
    html = html.replace("<script></script>", f"<script>{script}</script>")
    policy = ("Content-Security-Policy", _policy(style, script))
    return HttpResponse(HTTPStatus.OK, HTML, html.encode(), fields=(policy, *_FIELDS))


def _policy(style: str, script: str) -> str:
    """Nothing but this very style and script, and questions to where the page came from."""
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# --- the document -----------------------------------------------------------------------------------------------------


def status(program: ProgramSeen, request: HttpRequest) -> HttpResponse:
    """/status.json."""
    private = is_private(program, request)
    if program.token and "authorization" in request.fields and not private:
        refused = text(HTTPStatus.UNAUTHORIZED, "this is not the token of --metrics-token")
        return refused._replace(fields=(("WWW-Authenticate", "Bearer"), *_FIELDS))
    try:
        told = document(program, query_of(request.parameters, private), Moment.present())
    except (BadQuery, UnknownColumn, UnknownThing) as error:
        return text(HTTPStatus.BAD_REQUEST, str(error))
    told["sessions"] |= {"may_unmask": private, "takes_token": bool(program.token)}
    return HttpResponse(HTTPStatus.OK, JSON, json.dumps(told, separators=(",", ":")).encode(), fields=_FIELDS)


def query_of(given: Mapping[str, str], private: bool) -> PageQuery:
    """What a query asks for. Raises BadQuery."""
    plain = PageQuery()
    return PageQuery(
        filter=given.get("filter", plain.filter)[:_MOST_FILTER],
        sort=given.get("sort", plain.sort),
        reverse=_one_of(given, "desc", _SWITCHES, usual=plain.reverse),
        rows=_rows(given.get("rows", str(plain.rows))),
        users=_one_of(given, "users", _SWITCHES, usual=plain.users) and private,
        words=private,
        span=_one_of(given, "span", {span: span for span in SPANS}, usual=plain.span),
        thing=given.get("thing", plain.thing)[:_MOST_FILTER],
    )


def _one_of(given: Mapping[str, str], name: str, allowed: Mapping[str, Any], *, usual: Any) -> Any:
    if name not in given:
        return usual
    if given[name] not in allowed:
        raise BadQuery(f"{name}: allowed are {', '.join(allowed)}")
    return allowed[given[name]]


def _rows(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_ROWS:
        raise BadQuery(f"rows: allowed are 1 to {MOST_ROWS}")
    return int(text)


def is_private(program: ProgramSeen, request: HttpRequest) -> bool:
    """Whether who asks may see names in full: he has the token, or may connect to a socket that only few may.

    To sit at the machine is no right: any account does, and whatever serves the world from there.
    """
    authorization = request.fields.get("authorization", "")
    if program.token and authorization:
        return is_token(authorization, program.token)
    forwarded = any(name in request.fields for name in _FORWARDED)
    return request.by_unix_socket and not forwarded and _is_local_name(request.fields.get("host", ""))


def _is_local_name(host: str) -> bool:
    """Whether the page is asked for by a name of the machine itself: a browser whose tunnel ends at the socket could be
    sent here by another site, which has its own name.
    """
    name = re.sub(r":[0-9]{1,5}$", "", host).removeprefix("[").removesuffix("]")
    return name.lower() == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


page()  # put together now, and not at the first question: see exporter.py
