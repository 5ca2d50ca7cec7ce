"""What stands on which manual page. Pure: `pages()` gives file names and texts.

Options, variables, commands, messages, signals and exit codes come from the tables; only what no table knows is
written here.
"""

from deploy.man import commands
from deploy.man.metrics import metrics_page
from deploy.man.modules import modules_page
from deploy.man.parts import Section, control, daemon, folded, log, see_also, terms
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.control.commands import manual
from supervisor.version import VERSION

DATE = "2026-11-23"
"""When what is written here was last changed."""

MODULES = (
    (
        "any BACKEND [TARGET]",
        "Lets everyone in, with any password: for backends that check it themselves. In TARGET, %u is the user name, "
        "%n the part before its last @, %d the part after, %% a percent sign.",
    ),
    (
        "passwd FILE [TARGET] [strict]",
        "Users in a file, one a line: NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET]. HASH is one of crypt(3), of "
        "argon2, or has one of Dovecot's {SCHEME} prefixes. TARGET is the mailbox (XPOP, CXPOP) or the user name on "
        "the backend (POP3); empty for that of the argument TARGET, whose placeholders are those of any, or else the "
        "client's own. A mailbox name holds no @: where users have mail addresses, TARGET %d/%n makes example.org/joe "
        "of joe@example.org. SECRET is the password on a POP3 backend; without it, the client's own. A bad line is "
        "skipped and told (pdm show, log); with strict it is an error. A file that has changed is read anew by itself "
        "(pdmwatch); not one from which all users are gone.",
    ),
    (
        "cdb FILE [TARGET]",
        "The same users in a constant database, which pcdb(1) makes of such a file: for many of them. It is open at "
        "once, and takes no memory in the workers. A new database takes the place of the old one by a rename, and is "
        "taken up by itself (pdmwatch).",
    ),
    (
        "sql URL query TEXT|queryfile FILE [NAME VALUE]...",
        "Users in an SQL database, by a query of yours. URL is sqlite:/PATH, postgresql://USER@HOST[:PORT]/DB or "
        "mysql://USER@HOST[:PORT]/DB. The query's parameters are bound: :user the name, :name and :domain its parts "
        "before and after the last @, :namespace, :vserv, :address. Its columns are taken by their names: password, "
        "backend, target, secret, flags, locked, sessions, login_delay, account. No row: there is no such user; "
        "several rows: one user with several passwords. passwordfile FILE holds the database's password; backend ID "
        "and target TARGET count where a row does not say it; connections N is how many a worker has at most (4). "
        "tls on has MySQL asked in TLS only, verified by cafile FILE or the system's authorities; PostgreSQL by "
        "?sslmode=verify-full&sslrootcert=FILE after its URL. Needs popular-pop3[postgresql] or popular-pop3[mysql].",
    ),
    (
        "redis URL [NAME VALUE]...",
        "Users in Redis or Valkey, a hash for each, with the fields that sql has as columns. URL is "
        "redis://[USER@]HOST[:PORT][/DB], rediss://... or unix:/PATH. key KEY is the key of a hash (user:%u); sentinel "
        "NAME takes URL for that of a sentinel (several by commas), cluster on for a node of a cluster; passwordfile, "
        "backend, target and connections are as in sql. Needs popular-pop3[redis].",
    ),
    (
        "ldap URL[,URL]... base DN|binduser NAME [NAME VALUE]...",
        "Users in a directory. Below base an entry is searched for by filter FILTER ((mail=%u)), as binddn DN with "
        "the first line of passwordfile FILE; the password is tried by a bind as this entry, an empty one never. With "
        "binduser NAME the bind is as NAME at once, in which %u, %n and %d stand for the user. backend ID and target "
        "TARGET say where the mail is, backendattribute and targetattribute name attributes that do. scramattribute "
        "names the attribute with keys of SCRAM-SHA-256 (RFC 5803), which binddn has to be allowed to read. starttls "
        "on goes into TLS; cafile FILE is whom to trust then, and with ldaps://, instead of the system's authorities "
        "(ldap.conf does not count in TLS). Needs popular-pop3[ldap].",
    ),
    (
        "http URL [NAME VALUE]...",
        "Asks a server as nginx's mail proxy asks its auth_http, with the same headers, and reads Auth-Status, "
        "Auth-Server, Auth-Port, Auth-User, Auth-Pass and Auth-Wait. What Auth-Server names has to be allowed (pdm "
        "conf ID allow); backend ID is taken instead. header NAME with passwordfile FILE sends a secret, cafile FILE "
        "is whom to trust behind https://, connections N is how many a worker has at most (16). Needs "
        "popular-pop3[http].",
    ),
    (
        "oauth2 NAME VALUE [NAME VALUE]...",
        "Lets in who shows a token of an identity provider (XOAUTH2, OAUTHBEARER); no password. jwks URL or FILE: a "
        "signed JWT, judged here by the provider's public keys, with issuer ISSUER and audience AUDIENCE in it, signed "
        "by one of algorithms A,B (RS256,ES256). introspect URL: the provider is asked (RFC 7662), as clientid ID with "
        "the first line of passwordfile FILE. userclaim NAME is where the user's name is (email in a JWT, username in "
        "an answer), which the client must have said, if it said one; scope TEXT are words that must be among its "
        "scopes, leeway SECONDS is how far clocks may differ (30). backend ID, or backendclaim NAME, and target TARGET "
        "say where the mail is; cafile and connections are as in http. Needs popular-pop3[oauth2].",
    ),
    (
        "dovecot SOCKET [NAME VALUE]...",
        "Asks Dovecot's authentication server at SOCKET, a path or HOST:PORT. takes KIND,... is what clients may "
        "show: password (PLAIN), token (XOAUTH2, OAUTHBEARER), scram (SCRAM-SHA-256, between client and Dovecot); "
        "password, where it is not there. backend ID and target TARGET are allowed. Where its database returns "
        "proxy and host, that server is where the mail is, and has to be allowed (pdm conf ID allow). Dovecot does "
        "not tell who exists, so this module stands last.",
    ),
    (
        "pam [NAME VALUE]...",
        "Asks PAM, for the service that service NAME says (pop3); backend ID is wanted, target TARGET is allowed. The "
        "service is a file in /etc/pam.d, which has to be there. PAM does not tell who exists either. Needs "
        "popular-pop3[pam].",
    ),
    (
        "master [FILE] [strict]",
        "Opens a mailbox that another module found, for whoever comes from the right address with the master password. "
        "One entry a line: IP:NAMESPACE:HASH, an IPv6 address in brackets. FILE is /etc/popular/masterauth.conf if it "
        "is not given; bad lines and changes are treated as those of passwd. Mail that is read in such a session stays "
        "new. Each such login is told in the log (master_login) and counted (popular_master_logins_total). On a POP3 "
        "backend it needs the user's SECRET of passwd: a master password is sent to no backend; without SECRET the "
        "client hears [SYS/PERM], and the log says no_secret.",
    ),
)

PPROXY_RC = (
    "set sidprefix p01",
    "backend conf store1 host 10.0.0.1 prot CXPOP state online",
    "pdm add users passwd /etc/popular/users",
    'vserv conf main iface ANY namespace example bannerok "mail.example.org ready" state online',
)


def _pproxy() -> list[Section]:
    return [
        *daemon(
            PPROXY,
            "pproxy stands between mail programs and storage servers. It reads user name and password, asks its "
            "authentication modules who this is and where the mail lies, connects to that storage server, and then "
            "passes bytes both ways. If the mailbox is empty and its server can be asked by UDP, the proxy answers the "
            "client alone, without a connection.",
            "It opens no port until it is configured: see --config and pproxy-control(7).",
            "One master process owns the listening sockets, the control socket and the session table; the workers "
            "serve the sessions. A worker that dies is replaced, and only its own sessions are lost.",
            "Started as root with --user, the master keeps the right to bind ports below 1024 and nothing else, and "
            "the workers keep nothing.",
            "With ringd(8) its listening sockets outlive it: one pproxy can be replaced by another one while clients "
            "come in, and none is refused. Under systemd the store of descriptors (FileDescriptorStoreMax=) does the "
            "same, and sockets that a socket unit passes are used for the virtual servers with their address.",
        ),
        see_also(
            "pproxy-control(7)", "pcontrol(1)", "pstatus(1)", "popular-log(7)", "pserv(8)", "pcheckd(8)", "ringd(8)"
        ),
    ]


PSERV_RC = (
    "set mailboxdir /var/spool/popular",
    "server conf iface 10.0.0.1 port 110 trusted 10.0.0.0/24 state online",
)


def _pserv() -> list[Section]:
    return [
        *daemon(
            PSERV,
            "pserv serves mail from Maildirs to proxies. A proxy names the mailbox (XPOP), and from then on it is "
            "POP3, already logged in. pserv asks for no password: whoever connects from an address in trusted can read "
            "every mailbox, so let nobody but the proxies be there. It is this host only until you say otherwise; "
            "others are closed without a word, counted, and told in the log (untrusted_peer) once a minute.",
            "Where the network between is not to be trusted, let it speak TLS: server conf prot XPOPs clientca FILE, "
            "with its own certificate in tlsdir as pproxy has it. FILE holds the authority of the proxies' "
            "certificates, which must be for clients (extendedKeyUsage clientAuth, or none). Let that authority sign "
            "for nobody else. In pproxy the backend then has prot XPOP or CXPOP, tls implicit, tlsname, tlsca, and "
            "tlscert for the proxy's certificate; pcheckd is asked by UDP as before, without TLS.",
            "It opens no port until it is configured: see --config and pserv-control(7).",
            "Nothing is locked. Two sessions may have one mailbox open; a message that the other one has removed is "
            "answered with an error. Mail that was read moves from new to cur at QUIT, except in a master session.",
        ),
        see_also(
            "pserv-control(7)", "pcontrol(1)", "pstatus(1)", "popular-log(7)", "pproxy(8)", "pcheckd(8)", "pdeliver(1)"
        ),
    ]


def _dated(page: str) -> str:
    """With the date in its first line, which the table's half leaves open."""
    return page.replace(' ""', f' "{DATE}"', 1)


def pages() -> dict[str, str]:
    """File names and troff texts of all pages."""
    contents: dict[tuple[str, int], tuple[str, list[Section]]] = {
        ("pproxy", 8): ("POP3 proxy", _pproxy()),
        ("pproxy-control", 7): (
            "variables and commands of pproxy",
            [
                *control(PPROXY, PPROXY_RC),
                ("MODULES", terms(MODULES)),
                see_also("pcontrol(1)", "pproxy(8)", "popular-pdm(7)", "pcdb(1)"),
            ],
        ),
        ("pserv", 8): ("POP3 storage server", _pserv()),
        ("pserv-control", 7): (
            "variables and commands of pserv",
            [*control(PSERV, PSERV_RC), see_also("pcontrol(1)", "pserv(8)", "pproxy-control(7)")],
        ),
        ("pcheckd", 8): ("tells by UDP whether a mailbox has mail", commands.pcheckd_page()),
        ("ringd", 8): ("keeps listening sockets for programs that come and go", commands.ringd_page()),
        ("pcontrol", 1): ("says commands to a running pproxy or pserv", commands.pcontrol_page()),
        ("pstatus", 1): ("shows the session table and the counters", commands.pstatus_page()),
        ("pcheck", 1): ("asks a pcheckd", commands.pcheck_page()),
        ("pdeliver", 1): ("puts a mail into a mailbox", commands.pdeliver_page()),
        ("pclean", 1): ("removes left-over and old files from mailboxes", commands.pclean_page()),
        ("pcdb", 1): ("makes a database for the module cdb", commands.pcdb_page()),
        ("ptestpdm", 1): ("tries authentication modules out", commands.ptestpdm_page()),
        ("popular-demo", 1): ("a whole small mail site in the foreground", commands.demo_page()),
        ("popular-pdm", 7): ("how to write an authentication module", modules_page()),
        ("popular-metrics", 7): ("the metrics of pproxy and pserv", metrics_page()),
        ("popular-log", 7): ("the log files and their messages", log()),
    }
    return {
        f"{name}.{number}": folded(_dated(manual.page(name, number, title, version=VERSION, sections=sections)))
        for (name, number), (title, sections) in contents.items()
    }
