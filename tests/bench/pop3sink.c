/* pop3sink: the storage server of the bench. Every mailbox holds the same three mails, and every login succeeds.
 *
 *     pop3sink [-p PORT] [-x] [-o OCTETS] [-g SEGMENT] [-t SECONDS]
 *
 * POP3, or XPOP with -x (three lines, one reply, then TRANSACTION); then whoever asks by UDP on the same port is told
 * that there is no mail, whatever the mailbox. -o: octets of each mail. Prints its port when it listens. Every
 * reply is a constant, so that a session costs little but its system calls. A line that does not fit in 512 octets
 * closes the connection. DELE is answered and forgotten: no session changes what the next one sees.
 */
#include "bench.h"

struct reply {
    const char *octets;
    size_t length;
};

struct connection {
    int fd;
    int xpop_lines;       /* lines still expected before TRANSACTION */
    int closing;          /* close when `left` is out */
    const char *out;      /* what the peer did not take yet */
    size_t left;
    size_t held;
    char line[512];
};

static struct {
    const char *verb;
    struct reply reply;
} commands[] = {
    {"USER", {"+OK\r\n", 5}}, {"PASS", {"+OK logged in\r\n", 15}}, {"STAT", {"", 0}}, {"LIST", {"", 0}},
    {"UIDL", {"", 0}},        {"RETR", {"", 0}},                   {"DELE", {"+OK\r\n", 5}}, {"NOOP", {"+OK\r\n", 5}},
    {"RSET", {"+OK\r\n", 5}}, {"CAPA", {"", 0}},                   {"QUIT", {"+OK bye\r\n", 9}},
};
static const struct reply greeting = {"+OK pop3sink\r\n", 14}, unknown = {"-ERR unknown command\r\n", 22};
static int epoll, xpop;

static struct reply *reply_to(const char *verb) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strncasecmp(verb, commands[i].verb, 4) == 0)
            return &commands[i].reply;
    return NULL;
}

static void set_reply(const char *verb, const char *text) {
    *reply_to(verb) = (struct reply){text, strlen(text)};
}

static void write_replies(void) {
    static char stat[64], list[256], uidl[256];
    size_t l = (size_t)sprintf(list, "+OK %d messages\r\n", MAILS), u = (size_t)sprintf(uidl, "+OK\r\n");
    sprintf(stat, "+OK %d %d\r\n", MAILS, MAILS * mail_octets);
    for (int number = 1; number <= MAILS; number++) {
        l += (size_t)sprintf(list + l, "%d %d\r\n", number, mail_octets);
        u += (size_t)sprintf(uidl + u, "%d mail-%d\r\n", number, number);
    }
    strcpy(list + l, ".\r\n");
    strcpy(uidl + u, ".\r\n");
    set_reply("STAT", stat);
    set_reply("LIST", list);
    set_reply("UIDL", uidl);
    set_reply("CAPA", "+OK\r\nUSER\r\nUIDL\r\nPIPELINING\r\n.\r\n");
    reply_to("RETR")->octets = write_retr_reply(&reply_to("RETR")->length);
}

static void end(struct connection *c) {
    close(c->fd);
    free(c);
}

/* Sends what is left. Returns 0 when all is out, 1 when the peer must read first, -1 when the connection is over. */
static int flush(struct connection *c) {
    while (c->left) {
        ssize_t sent = send(c->fd, c->out, c->left, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 1 : -1;
        c->out += sent;
        c->left -= (size_t)sent;
    }
    return c->closing ? -1 : 0;
}

static void say(struct connection *c, const struct reply *reply) {
    c->out = reply->octets;
    c->left = reply->length;
}

static void obey(struct connection *c, const char *line) {
    if (c->xpop_lines) {
        if (--c->xpop_lines == 0)
            say(c, reply_to("PASS"));
        return;
    }
    struct reply *reply = reply_to(line);
    say(c, reply ? reply : &unknown);
    c->closing = strncasecmp(line, "QUIT", 4) == 0;
}

/* Obeys the lines that are there, until one of the replies does not go out at once. */
static int obey_lines(struct connection *c) {
    char *start = c->line, *newline;
    int state = 0;
    while (state == 0 && (newline = memchr(start, '\n', c->held - (size_t)(start - c->line)))) {
        *newline = '\0';
        obey(c, start);
        start = newline + 1;
        state = flush(c);
    }
    c->held -= (size_t)(start - c->line);
    memmove(c->line, start, c->held);
    return state;
}

static int hear(struct connection *c) {
    ssize_t got = recv(c->fd, c->line + c->held, sizeof c->line - c->held, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    c->held += (size_t)got;
    return obey_lines(c);
}

static void serve(struct connection *c) {
    int was_blocked = c->left > 0;
    int state = was_blocked ? flush(c) : hear(c);
    if (was_blocked && state == 0)
        state = obey_lines(c);
    if (state < 0)
        end(c);
    else if ((c->left > 0) != was_blocked)
        watch(epoll, EPOLL_CTL_MOD, c->fd, c->left ? EPOLLOUT : EPOLLIN, c);
}

static int listen_for_questions(int port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("mail check");
    return fd;
}

static void answer_questions(int fd) {
    static const char no_mail[] = "+OK 0 no mail\n";
    char question[512];
    struct sockaddr_in asker;
    socklen_t size = sizeof asker;
    while (recvfrom(fd, question, sizeof question, 0, (struct sockaddr *)&asker, &size) >= 0) {
        sendto(fd, no_mail, sizeof no_mail - 1, 0, (struct sockaddr *)&asker, size);
        size = sizeof asker;
    }
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        c->fd = fd;
        c->xpop_lines = xpop ? 3 : 0;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
        if (!xpop) {
            say(c, &greeting);
            if (flush(c) < 0)
                end(c);
        }
    }
}

int main(int argc, char **argv) {
    int option, port = 0, segment = 0;
    unsigned seconds = 600;
    while ((option = getopt(argc, argv, "p:xo:g:t:")) != -1) {
        if (option == 'p')
            port = atoi(optarg);
        else if (option == 'x')
            xpop = 1;
        else if (option == 'o' && whole_lines(optarg))
            mail_octets = whole_lines(optarg);
        else if (option == 'g')
            segment = atoi(optarg);
        else if (option == 't')
            seconds = (unsigned)atoi(optarg);
        else
            return 2;
    }
    live_at_most(seconds);
    write_replies();
    int listener = listen_on(port);
    limit_segment(listener, segment);
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    static struct connection questions;
    questions.fd = xpop ? listen_for_questions(port_of(listener)) : -1;
    if (xpop)
        watch(epoll, EPOLL_CTL_ADD, questions.fd, EPOLLIN, &questions);
    printf("%d\n", port_of(listener));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &questions)
                answer_questions(c->fd);
            else if (c)
                serve(c);
            else
                accept_all(listener);
        }
    }
}
