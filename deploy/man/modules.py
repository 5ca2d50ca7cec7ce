"""popular-pdm(7): the contract with authentication modules, for those who write one."""

from pathlib import Path

from deploy.man.parts import Section, example, see_also, terms, text

EXAMPLE = Path(__file__).parents[1] / "popular" / "libpdm_certificate.py"
TEMPLATE = EXAMPLE.with_name("libpdm_template.py")

QUESTION = {
    "client_ip": "the client's address as text, IPv4 or IPv6",
    "protocol": "POP3, or POP3s where TLS was there from the start",
    "namespace": "the namespace in which the user is looked up",
    "user": "the user's name, as the client typed it, without its namespace",
    "password": "the password, a Secret: reveal() gives its octets, equals(octets) compares in constant time, and "
    "every text that is made of it is four stars",
    "vserv": "the id of the virtual server",
    "certificate_name": "from the client's verified certificate: its first e-mail address or host name "
    "(subjectAltName), else its common name; empty if the client showed none, and where the client says the namespace "
    "itself (namespace USER) if it is a name in another one: the rest may be compared with user. It vouches for "
    "nothing unless the module says so",
    "tls_version": "OpenSSL's name of the TLS version; empty if the client speaks in clear",
    "tls_cipher": "and of the cipher",
    "token": "what the client has shown instead of a password: a Token, with its mechanism and its secret; else None. "
    "credential is what counts of password, token and proof, and kind is its kind",
    "proof": "what else it has shown instead: a ChallengeAnswer (CRAM-MD5, APOP), whose proves(secret) says whether "
    "the client has this password; a CertificateShown (EXTERNAL), where certificate_name says whose it is and user "
    "who is asked for; or KeysWanted (SCRAM-SHA-256), which is answered by Provable or HandedOn; else None",
    "actor": "the authentication id of SASL where it is another name than user: somebody else, whose password it is. "
    "He is let in only by a module that vouches for him in the second round",
    "attempt": "which attempt to log in it is in this session, from 1",
    "certificate": "the client's verified certificate itself, in DER; empty if it showed none",
    "defaultns": "where the client says the namespace itself, and has shown a certificate or a token: the namespace "
    "of a name without one; else empty. A name that the module has from elsewhere, as of a token, it compares with "
    "user by own_name(name), which is empty for a name in another namespace",
}
"""Fields of Question → what they hold."""

ROUTE = {
    "backend": "the id of the backend; or a server that is not configured, as 192.0.2.7:110 or [2001:db8::7]:110, "
    "where pdm conf ID allow NET:PORT like BACKEND allows it, and then its protocol, TLS, limits and counters are "
    "those of BACKEND",
    "target": "the mailbox on an XPOP or CXPOP backend, the user name on a POP3 backend; None for the client's own",
    "secret": "the password for a POP3 backend, a Secret; None for the client's own. A login that another module "
    "vouched for needs one there: what the client typed is not the user's own, and is sent to no backend",
    "flags": "XPOP flag letters; M makes a master session, which leaves new mail new",
    "server": "set by the proxy alone",
}
"""Fields of Route → what they hold."""

ANSWERS = {
    "Unknown(decoy, rank, second_round)": "There is no such user here; the next module is asked. decoy may be a "
    "function that does the work that a known user's password would have cost: it is called at most once, if no module "
    "knows the user, so that the time of the answer does not tell who exists. Of several modules' decoys that of the "
    "smallest rank is called; a module that knows N users draws its rank from the name, exponentially with the rate N, "
    "so that each is called as often as it has users. second_round may be a function that does the work that "
    "authenticate would have cost here, and is called as well. UNKNOWN is the answer of a module without such work.",
    "Authenticated(route, limits, cache)": "The user is known, the password is right, and no other module is asked. "
    "limits, if given, are UserLimits that count for this user instead of what counts for all. cache: for how many "
    "seconds this may be answered again without asking, where the operator has a cache (pdm conf ID cache); None for "
    "as long as he says.",
    "Refused(route, locked, code, wait, cache, text, reason)": "The user is known, and the password is wrong. Now all "
    "modules are asked, in order, whether one of them vouches for this user (authenticate). Each such login is logged "
    "(master_login) and counted. Without a route, or if locked is true, nobody can vouch for him. code is a response "
    "code that the client gets instead of AUTH, text what it is told instead of our "
    "words. wait: how long the client should wait for the reply, in seconds. reason goes to the log "
    "alone, where there is more to say than that the password is wrong.",
    "Provable(keys, route, limits, locked)": "The answer to a question with KeysWanted, and to no other: the user is "
    "known, and comes in if he proves (SCRAM-SHA-256) that he has the password of which these ScramKeys are made; "
    "unless locked is true, of which he is told nothing else. Such a question may be answered by Refused, Unknown and "
    "CannotTell, too. Nobody is asked to vouch then, and nothing is cached. The decoy of Unknown may return ScramKeys "
    "that the client is shown. Keys that are stored are handed out as they are; who has the password itself makes them "
    "by popular.protocol.scram.keys_of(password, salt[:16]), with the salt of KeysWanted.",
    "HandedOn(challenge, respond)": "The other answer to KeysWanted: a server behind the module keeps the keys, and "
    "tries itself whether the client has the password. The client is told challenge; respond(octets) is called with "
    "what it says to that, once or never, as check is (a coroutine function in an AsyncModule), and gives "
    "Authenticated, Refused, CannotTell or one more HandedOn. The first message of the client is KeysWanted.first. "
    "The module stands for those, too, whom the server does not know, and makes up challenges for them that nobody "
    "can answer, and that look and take time as others do.",
    "CannotTell(reason)": "Nothing can be said of this user now, for a reason that goes to the log; of the others it "
    "can. What concerns all of them is a failure, see below.",
}

MODULE = {
    "ident": "the id that the operator chose in pdm add",
    "arguments": "what it was opened with",
    "flags": "XPOP flag letters that a session gets when this module vouched for a user that another one found",
    "check": "check(question): who is this, and may he in? The default knows nobody",
    "authenticate": "authenticate(question, route): may this user come in, whom another module found and refused? "
    'True, or False, which is only "not by me". The default is False',
    "reload": "reload(): a successor made from the same arguments, with files and connections opened anew. The old "
    "one goes on answering until the new one is in force; if reload fails nothing changes",
    "close": "close(): gives back what the module holds. Called once, when no question is under way any more; "
    "where the worker ends, it has a second for that",
    "notes": "what the operator should know of it, a line each and without secrets: told in the reply to the command "
    "that opened it, and in the log. May be absent, as the two that follow",
    "skipped": "how many lines of its files are bad and skipped, for the metrics",
    "files": "the files that it is made of, by path, each with what os.fstat() said when it was read. When one is "
    "another the module is reloaded (pdmwatch)",
    "ended": "which of these files end with a line end. One that does not, where the one before it did, is cut: the "
    "module that has it does not take the place of that one",
    "takes": "the kinds of credential that it looks at: PASSWORD (the default), TOKEN, CHALLENGE, CERTIFICATE, SCRAM",
    "by_address": "whether an answer may depend on the client's address (the default): then a cached one counts for "
    "this address only",
    "knows_nobody": "whether its list of users is empty; such a one does not take the place of one that has had users. "
    "Of a Module only",
}
"""What a module has → what it is. A class that derives from Module has the defaults."""


KINDS = {
    "Module": "Answers by functions. blocking is True (the default) if an answer may wait or take long: it is asked in "
    "a thread, of which each module has a few of its own (pdm conf ID threads). With local too, it takes nothing but "
    "time to compute, and local files: it is asked in the threads that are there for password hashes, without a "
    "deadline. Without blocking it is asked on the worker's event loop, and whatever it waits for, all sessions of the "
    "worker wait for.",
    "AsyncModule": "Answers by coroutines, on the worker's event loop, and so holds no thread while it waits; check, "
    "authenticate and close are coroutine functions. It never blocks the loop: no file, no lookup of a host name, no "
    "password hash without asyncio.to_thread. ready, a coroutine function, is called once before the first question. "
    "When the deadline has passed, or the client is gone, its coroutine is cancelled.",
}
"""The two kinds of modules."""


def modules_page() -> list[Section]:
    """The sections of the page."""
    return [
        (
            "DESCRIPTION",
            text(
                "pproxy(8) asks its authentication modules who a user is, where his mail lies, and whether he may come "
                "in. A module named NAME is a Python file libpdm_NAME, source or compiled, in the directory that the "
                "variable pdmdir names. pdm add ID NAME ARG... in pproxy-control(7) opens it, in every worker.",
                "The file has one function, open_module(ident, arguments), which gives a module. If it cannot start it "
                "raises ModuleFailed with a text for people; the command is then refused, and nothing has changed. "
                "Everything named here is imported from popular.pdm.contract.",
                "Loading a module is running its code: whoever may write into pdmdir is the proxy. So a file that "
                "others than root, the proxy's user and this user's primary group can write, or that lies below such "
                "a directory, is refused.",
            ),
        ),
        (
            "DATABASES OF USERS",
            text(
                "The module cdb finds users in a constant database, D. J. Bernstein's format (cdb.txt), which pcdb(1) "
                "makes. Another program can make one too. The key of a record is NAMESPACE:USER, its data is "
                "HASH:BACKEND:TARGET[:SECRET], all in UTF-8, as in a line of the module passwd. One more record, with "
                "the key :popular, has a line for each form of HASH: how many users have it, a blank, and one of "
                "their HASHes; decoys are made of it, so that the time of an answer does not tell who exists. Without "
                "it they are taken from the first 1000 records. A database is never changed in place: write another "
                "one, and rename it."
            ),
        ),
        ("TWO KINDS", terms(KINDS.items())),
        (
            "A MODULE",
            terms(MODULE.items())
            + "\n"
            + text(
                "It may have lookup(namespace, user), of the same kind as check: what it says of a user without his "
                "password, KnownUser(route, limits, locked) or None. It counts as no login.",
                "It may have lead(namespace, user, backend), of the same kind: the user's mail is at this backend from "
                "now on, for this module and its successors. True: so it is; False: it does not have this user, or was "
                "opened without what that takes. It raises ModuleFailed if it cannot tell; what it changed then it has "
                "taken back, or will be told again. user move calls it, where pdm conf ID moves is on, in a thread or, "
                "if it is a coroutine, on the loop, and only while nobody can log in as this user.",
            ),
        ),
        ("THE QUESTION", terms(QUESTION.items())),
        ("THE ANSWERS", terms(ANSWERS.items())),
        ("THE ROUTE", terms(ROUTE.items())),
        (
            "FAILURES",
            text(
                "A module that cannot answer raises ModuleFailed; its text goes to the log and must hold no secret. "
                "Any other exception counts the same, and only its type and place are logged (module_error). The other "
                "modules are asked all the same. If nobody lets the user in, the client hears [SYS/TEMP], never that "
                "its password is wrong; nor is the fallback backend asked, which would see the password.",
                "An answer that has not come within pdm conf ID timeout is a failure too. A call that hangs keeps its "
                "thread until it returns; when all threads of a module are held so, it cannot tell at once.",
                "After pdm conf ID breaker failures in a row (ModuleFailed, OSError, no answer in time; not other "
                "exceptions, nor CannotTell, which may be one user's) a worker does not ask the module for pdm conf ID "
                "pause, then tries it once. The log tells when it begins and ends (module_given_up, module_back).",
            ),
        ),
        (
            "THREADS AND FILES",
            text(
                "One object is asked from several threads at once, so it changes nothing in itself while it answers. "
                "Each worker opens each module for itself. open_module and reload run in a thread and may read files. "
                "They connect to nothing, so that a proxy starts while a database is down. A module that reads its "
                "files there answers from memory. A path without a slash in front is best made absolute in "
                "open_module, as the module passwd does.",
                "A module never writes a secret anywhere, neither into a text nor into a log. A secret of its own is "
                "no argument: it takes it from a file, passwordfile FILE. popular.pdm.arguments reads it "
                "(secret_from), refuses a URL with a password in it (refuse_password_in), and imports a library that "
                "may be missing (needs), with an error that names what to install.",
            ),
        ),
        (
            "TEMPLATE",
            text("deploy/popular/libpdm_template.py, a module that waits for somebody else, to begin with:")
            + "\n"
            + example(*TEMPLATE.read_text("utf-8").splitlines())
            + "\n"
            + text("Whether a module keeps the contract, whatever clients type, is tried by")
            + "\n"
            + example("ptestpdm --dir deploy/popular --conformance template localhost 4711"),
        ),
        (
            "EXAMPLE",
            text("deploy/popular/libpdm_certificate.py, whole:")
            + "\n"
            + example(*EXAMPLE.read_text("utf-8").splitlines())
            + "\n"
            + text("To try it, without a proxy:")
            + "\n"
            + example(
                "echo 'certs certificate store1' > commands",
                "echo '192.0.2.7 POP3s default ann -' > logins",
                "ptestpdm --dir deploy/popular --certificate-name ann commands logins",
            ),
        ),
        see_also("ptestpdm(1)", "pcdb(1)", "pproxy-control(7)", "pproxy(8)"),
    ]
