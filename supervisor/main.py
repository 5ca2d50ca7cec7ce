"""The start of a program that the supervisor runs (`pproxy`, `pserv`).

Order of a start: options → run directory and lock → log → rights dropped → listening for commands → workers → start
configuration. A start configuration with a faulty line ends the program: exit 1, and the message names file, line and
column.
"""

import argparse
import os
import pwd
import resource
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor.config import Config
from supervisor.control.commands.variables import OPEN_FILES, initial_values
from supervisor.control.language.language import Language
from supervisor.control.wire.access import FaultyAccess
from supervisor.master.accessfile import AccessFile
from supervisor.master.master import Master
from supervisor.options import DEFAULT_RUNDIR, options
from supervisor.program import Program
from supervisor.ringd.client import Ring, absent, answers, why_unserved
from supervisor.runtime import messages, rights
from supervisor.runtime.daemon import BACKGROUND_WITHOUT_LOG, Daemon
from supervisor.runtime.httptoken import read_digest
from supervisor.runtime.load import LoadFiles, pressure_file
from supervisor.runtime.log import STANDARD_ERROR, Log
from supervisor.runtime.logfile import LogFile
from supervisor.runtime.rundir import CannotStart, RunDirectory
from supervisor.runtime.standard import hold_standard_descriptors
from supervisor.runtime.statedir import DEFAULT_STATEDIR, StateDirectory
from supervisor.sockets.listener import Address
from supervisor.sockets.sources import Binding, Source
from supervisor.sockets.systemd import Activated, Notifier, inherited
from supervisor.start import StartConfiguration, commands_of
from supervisor.trial import Trying, try_start

EXIT_FAILED = 1
EXIT_USAGE = 2
RINGD_SECONDS = 2.0
"""So long `--check` waits for ringd."""


def main(program: Program, argv: Sequence[str] | None = None) -> int:
    """Starts a program and runs it; returns the exit code of the process."""
    hold_standard_descriptors()
    parser = options(program)
    chosen = parser.parse_args(argv)
    if not chosen.cores:
        rights.forbid_cores()
    try:
        _take_own_options(program, chosen, parser)
        return _check(program, chosen) if chosen.check else _start(program, chosen)
    except MemoryError:
        print(f"{program.name}: there is too little memory to start; `ulimit -v` may bound it", file=sys.stderr)
        return EXIT_USAGE if chosen.check else EXIT_FAILED
    except (CannotStart, FaultyAccess, rights.UnknownUser, rights.UnknownGroup, OSError) as error:
        print(f"{program.name}: {error}", file=sys.stderr)
        return EXIT_USAGE if chosen.check else EXIT_FAILED


def _take_own_options(program: Program, chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    for own in program.start_options:
        text = getattr(chosen, own.name.replace("-", "_"))
        if text is not None:
            try:
                own.take(text)
            except ValueError as error:
                parser.error(f"argument --{own.name}: {error}")


def _start(program: Program, chosen: argparse.Namespace) -> int:
    user = rights.find_user(chosen.user) if chosen.user and os.getuid() == 0 else None
    if chosen.daemon and chosen.logfile == STANDARD_ERROR:
        raise CannotStart(BACKGROUND_WITHOUT_LOG)
    daemon = Daemon.part() if chosen.daemon else None
    notifier = Notifier(os.environ)
    with rights.acting_as(user):  # whoever may write it, or what it includes, must not see root's files in an error
        configuration = StartConfiguration(chosen.config, daemon, notifier.ready)
    readers = rights.find_group(chosen.ctrl_group) if chosen.ctrl_group else None
    statedir = _statedir(program, chosen, user)
    rundir = RunDirectory(Path(chosen.rundir).absolute(), program.name, user, readers=readers)
    try:
        master = _make_master(program, chosen, rundir, statedir=statedir, user=user, notifier=notifier)
    except BaseException:
        rundir.withdraw_all()
        raise
    try:
        code = master.run(configuration.apply)
    except MemoryError:
        print(f"{program.name}: there is too little memory to go on", file=sys.stderr)
        code = EXIT_FAILED
    except Exception:
        traceback.print_exc()
        code = EXIT_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by `return`: multiprocessing would wait for the children, and without a master they finish by themselves.
    os._exit(code)


def _make_master(
    program: Program,
    chosen: argparse.Namespace,
    rundir: RunDirectory,
    *,
    statedir: StateDirectory,
    user: pwd.struct_passwd | None,
    notifier: Notifier,
) -> Master:
    token = read_digest(Path(chosen.metrics_token)) if chosen.metrics_token else b""
    path = chosen.logfile or f"/var/log/popular/{program.name}"
    try:
        log = Log(
            program.name,
            path if path == STANDARD_ERROR else os.path.abspath(path),
            form=chosen.log_format,
            stamps=chosen.log_stamps,
            user=user,
            at_once=chosen.log_lines == "at-once",
        )
    except OSError as error:
        raise CannotStart(f"log file {path}: {error.strerror}; name another one with --logfile") from None
    audit = _audit_file(chosen.auditlog, user)
    if user is not None:
        rights.become(user)
        if not os.access(os.__file__, os.R_OK):
            log(messages.CODE_UNREADABLE, user=user.pw_name, file=os.__file__)
    for kind, where, doubt in (("run", rundir.path, rundir.doubt), ("log", Path(path).parent, log.doubt)):
        if doubt:
            log(messages.DIRECTORY_SHARED, kind=kind, directory=where, reason=doubt)
    # One in the run directory is this run directory's anyhow, and is made only when there is something to keep.
    owner = statedir.claim(rundir.identity) if statedir.path.parent != rundir.path else ""
    if owner:
        reason = (
            f"state directory {statedir.path} is in use by the {program.name} of the run directory "
            f"{owner.partition(' ')[2] or owner}: what each orders "
            "would overwrite the other's; name another one with --statedir"
        )
        log(messages.START_FAILED, reason=reason)
        raise CannotStart(reason)
    ceilings = _ceilings(program, chosen)
    language = Language(program.commands)
    first = _first_config(program, chosen, ceilings, logfile=log.path)
    try:
        return Master(
            program,
            first,
            language,
            rundir=rundir,
            log=log,
            ceilings=ceilings,
            load_files=_load_files(chosen),
            source=_source(program, chosen, rundir, notifier=notifier, log=log),
            notifier=notifier,
            access_file=AccessFile(chosen.access, language),
            audit_file=audit,
            metrics=chosen.metrics,
            statedir=statedir,
            metrics_token=token,
        )
    except (CannotStart, FaultyAccess, OSError) as error:
        log(messages.START_FAILED, reason=str(error))
        raise


def _audit_file(name: str | None, user: pwd.struct_passwd | None) -> LogFile | None:
    """Raises CannotStart."""
    try:
        return LogFile(os.path.abspath(name), user) if name is not None else None
    except OSError as error:
        raise CannotStart(f"audit log {name}: {error.strerror}; name another one with --auditlog") from None


def _statedir(program: Program, chosen: argparse.Namespace, user: pwd.struct_passwd | None) -> StateDirectory:
    """The state directory; made here only where it is another user's than ours. What is wrong with it is told later."""
    if chosen.statedir is None and chosen.rundir != DEFAULT_RUNDIR:
        return StateDirectory(Path(chosen.rundir, "state").absolute(), program.name)  # the user can make it by himself
    statedir = StateDirectory(Path(chosen.statedir or DEFAULT_STATEDIR).absolute(), program.name)
    if user is not None:
        with suppress(OSError):
            statedir.make(user)
    return statedir


def _ceilings(program: Program, chosen: argparse.Namespace) -> dict[str, int]:
    """What nothing that is configured may go beyond."""
    things = {sort: getattr(chosen, f"max_{sort}s") for sort in program.ceilings}
    return {"sessionlimit": chosen.sessionlimit, OPEN_FILES: _raise_file_limit(), **things}


def _first_config(program: Program, chosen: argparse.Namespace, ceilings: Mapping[str, int], *, logfile: str) -> Config:
    """What the start options say, before any command."""
    given = {"logfile": logfile, "workers": chosen.workers, "grace": chosen.grace}
    variables = initial_values(program.variables, ceilings, **given)
    things: dict[str, dict[str, Any]] = {sort: {} for sort in program.sorts}
    return Config(generation=1, variables=variables, things=things, debug=chosen.debug)


def _load_files(chosen: argparse.Namespace) -> LoadFiles:
    return LoadFiles(Path(chosen.load_file), Path(chosen.pressure_file or pressure_file()))


def _check(program: Program, chosen: argparse.Namespace) -> int:
    """Tries the start configuration; as the user who would run it, if this is root."""
    if chosen.user and os.getuid() == 0:
        rights.become(rights.find_user(chosen.user))
    commands = commands_of(chosen.config)
    AccessFile(chosen.access, Language(program.commands)).read()
    ceilings = _ceilings(program, chosen)
    first = _first_config(program, chosen, ceilings, logfile=chosen.logfile or f"/var/log/popular/{program.name}")
    can_listen = _check_ring(program, chosen)
    code = try_start(
        Trying(program, first, ceilings, load_files=_load_files(chosen)), commands, ", ".join(chosen.config)
    )
    sys.stderr.flush()
    os._exit(code if can_listen else code or EXIT_FAILED)  # a thread of a module may still run


def _source(
    program: Program, chosen: argparse.Namespace, rundir: RunDirectory, *, notifier: Notifier, log: Log
) -> Source:
    """Where listening sockets come from: systemd, ringd, or we bind them ourselves."""
    path = _ring_path(chosen)
    if path is not None and chosen.ringd is None and (reason := why_unserved(path)):
        # Nobody has asked for it: what a killed ringd has left must not keep a mail site from its start.
        log(messages.RINGD_DEAD, path=path, reason=reason)
        path = None
    passed = inherited(os.environ)
    ports = {one.socket.getsockname()[1] for one in passed}

    def tell_shared(address: Address) -> None:
        """An instance in the same run directory is how an upgrade goes."""
        host, port = address.address
        if port not in ports and not rundir.has_company():
            log(messages.PORT_SHARED, address=host, port=port)

    source: Source = Ring(path, log, program.name) if path is not None else Binding(tell_shared)
    return Activated(passed, source, notifier, log=log) if passed or notifier.stores else source


def _ring_path(chosen: argparse.Namespace) -> Path | None:
    """The socket of the ringd that lends sockets, if one shall."""
    path = Path(chosen.ringd or Path(chosen.rundir, "ringd.ctrl")).absolute()
    return path if chosen.ringd != "off" and (chosen.ringd is not None or path.is_socket()) else None


def _check_ring(program: Program, chosen: argparse.Namespace) -> bool:
    """Tells if the ringd that is to lend sockets is not there; whether a start could go on."""
    path = _ring_path(chosen)
    if path is None:
        return True
    reason = why_unserved(path)
    if not reason and not answers(path, RINGD_SECONDS):
        told = f"ringd at {path} does not answer within {RINGD_SECONDS:g} s: it was stopped, or hangs"
        print(f"{program.name}: {told}; a start would get no socket from it", file=sys.stderr)
        return False
    if not reason:
        return True
    if chosen.ringd is None:
        print(f"{program.name}: note: nobody serves {path} ({reason}): a start binds the ports itself", file=sys.stderr)
        return True
    print(f"{program.name}: {absent(path, reason)}", file=sys.stderr)
    return False


def _raise_file_limit() -> int:
    """As far as may be; how far that is."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
