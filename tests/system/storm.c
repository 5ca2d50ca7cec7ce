/* storm: POP3 clients that come at a steady rate and do different things, and the storage server behind them.
 *
 *     storm -b [-t SECONDS]                      the server; prints its port
 *     storm -p PORT [-r RATE] [-t SECONDS]       the clients: RATE a second, until standard input ends
 *
 * Every mailbox holds one mail of 5 MB. Of a hundred clients, 80 log in, ask STAT and leave; 12 delete the mail and wait
 * for half a second before QUIT; 7 log in and stay silent for up to four seconds; one fetches the mail at 3 MB a second.
 * All of them say QUIT, wait for its reply and for the end of the connection. When standard input has ended nobody new
 * comes, those who wait go on at once, and when the last has left one JSON line tells how they fared:
 *
 *     connects   sessions begun                            served     sessions that had all of their replies
 *     denied     greeted with -ERR and closed              refused    connection refused
 *     reset      reset before the greeting                 cut        closed before all replies came
 *     wrong      an octet that is not what was sent        late       not over after SECONDS
 *     longest    the longest way from connect to greeting, in milliseconds
 */
#include "../bench/bench.h"
#include <poll.h>
#include <time.h>

enum {
    MAIL_LINES = 65536,
    MAIL_SIZE = MAIL_LINES * MAIL_LINE,
    TICK_MS = 10,
    PIECE = 3000000 / 1000 * TICK_MS,        /* octets that a slow reader takes at each tick */
    MOST_CLIENTS = 16384,
};

static const char greeting[] = "+OK storm\r\n", logged_in[] = "+OK logged in\r\n", bye[] = "+OK bye\r\n";
static char *retr, stat_reply[64];
static size_t retr_length;
static int epoll;

static uint64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void write_mail(void) {
    sprintf(stat_reply, "+OK 1 %d\r\n", MAIL_SIZE);
    retr = malloc(MAIL_SIZE + 128);
    if (!retr)
        die("malloc");
    char *end = retr + sprintf(retr, "+OK %d octets\r\n", MAIL_SIZE);
    for (int line = 0; line < MAIL_LINES; line++)
        end += sprintf(end, "%078d\r\n", line);
    end += sprintf(end, ".\r\n");
    retr_length = (size_t)(end - retr);
}

/* The server */

struct served {
    int fd, closing;
    const char *out;
    size_t left, held;
    char line[512];
};

static void say(struct served *s, const char *text, size_t length) {
    s->out = text;
    s->left = length;
}

static void obey(struct served *s, const char *line) {
    if (strncmp(line, "PASS", 4) == 0)
        say(s, logged_in, sizeof logged_in - 1);
    else if (strncmp(line, "STAT", 4) == 0)
        say(s, stat_reply, strlen(stat_reply));
    else if (strncmp(line, "RETR", 4) == 0)
        say(s, retr, retr_length);
    else if (strncmp(line, "QUIT", 4) == 0)
        say(s, bye, sizeof bye - 1), s->closing = 1;
    else
        say(s, "+OK\r\n", 5);
}

/* Sends, then reads, as far as it goes; 0 when the connection is over. */
static int serve(struct served *s) {
    for (;;) {
        while (s->left) {
            ssize_t sent = send(s->fd, s->out, s->left, MSG_NOSIGNAL);
            if (sent < 0)
                return errno == EAGAIN;
            s->out += sent;
            s->left -= (size_t)sent;
        }
        char *newline = memchr(s->line, '\n', s->held);
        if (s->closing)
            return 0;
        if (newline) {
            size_t used = (size_t)(newline + 1 - s->line);
            obey(s, s->line);
            memmove(s->line, s->line + used, s->held -= used);
            continue;
        }
        ssize_t got = recv(s->fd, s->line + s->held, sizeof s->line - s->held, 0);
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        s->held += (size_t)got;
    }
}

static void serve_all(void) {
    int listener = listen_on(0), fd;
    struct epoll_event events[EVENTS];
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    printf("%d\n", port_of(listener));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct served *s = events[i].data.ptr;
            while (!s && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                struct served *fresh = calloc(1, sizeof *fresh);
                if (!fresh)
                    die("calloc");
                fresh->fd = fd;
                say(fresh, greeting, sizeof greeting - 1);
                watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET, fresh);
            }
            if (s && !serve(s)) {
                close(s->fd);
                free(s);
            }
        }
    }
}

/* The clients. What one does is a string of steps, after the greeting:
 * U USER, P PASS, S STAT, R RETR slowly, D DELE, Q QUIT, w wait a little, W wait long, E the end of the connection.
 */

enum { GREETING = 'G', END = 'E', SLOWLY = 'R' };
static const struct { int of_hundred; const char *steps; } kinds[] = {
    {80, "GUPSQE"}, {12, "GUPDwQE"}, {7, "GUPWQE"}, {1, "GUPRQE"},
};

struct client {
    int fd, used;
    const char *step;
    size_t got;              /* octets of the current reply */
    uint64_t began, wakes;   /* 0: it is not waiting */
};

static struct client clients[MOST_CLIENTS];
static struct { long connects, served, denied, refused, reset, cut, wrong, late, longest; } told;
static int living, hurry;

static int is_waiting(const struct client *c) {
    return *c->step == 'w' || *c->step == 'W';
}

static void leave(struct client *c, long *how) {
    ++*how;
    close(c->fd);
    c->used = 0;
    living--;
}

static void lost(struct client *c, int error) {
    leave(c, error == ECONNREFUSED ? &told.refused : *c->step == GREETING && error ? &told.reset : &told.cut);
}

static void next_step(struct client *c) {
    const char *command = "";
    c->got = 0;
    switch (*++c->step) {
    case 'U': command = "USER ann\r\n"; break;
    case 'P': command = "PASS secret\r\n"; break;
    case 'S': command = "STAT\r\n"; break;
    case 'D': command = "DELE 1\r\n"; break;
    case 'Q': command = "QUIT\r\n"; break;
    case 'w': c->wakes = milliseconds() + 500; break;
    case 'W': c->wakes = milliseconds() + 500 + (uint64_t)(rand() % 3500); break;
    case SLOWLY: command = "RETR 1\r\n"; watch(epoll, EPOLL_CTL_MOD, c->fd, 0, c); break;
    }
    size_t length = strlen(command);
    if (length && send(c->fd, command, length, MSG_NOSIGNAL) != (ssize_t)length)
        lost(c, errno);
}

/* Compares what came with the reply that is due. 1: it is whole, 0: more must come, -1: it is wrong. */
static int check(struct client *c, const char *octets, size_t length) {
    const char *expected = *c->step == 'S' ? stat_reply : *c->step == SLOWLY ? retr : NULL;
    if (is_waiting(c) || *c->step == END)
        return -1;
    if (expected) {
        size_t whole = expected == retr ? retr_length : strlen(stat_reply);
        if (length > whole - c->got || memcmp(octets, expected + c->got, length) != 0)
            return -1;
        return (c->got += length) == whole;
    }
    for (size_t i = 0; i < length; i++, c->got++)
        if (c->got < 3 && octets[i] != "+OK"[c->got])
            return -1;
    const char *newline = memchr(octets, '\n', length);
    return newline == NULL ? 0 : newline == octets + length - 1 ? 1 : -1;
}

static void hear(struct client *c) {
    static char octets[PIECE];
    ssize_t got = recv(c->fd, octets, sizeof octets, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        if (got == 0 && *c->step == END)
            leave(c, &told.served);
        else
            lost(c, got < 0 ? errno : 0);
        return;
    }
    if (*c->step == GREETING && c->got == 0 && octets[0] == '-') {
        leave(c, &told.denied);
        return;
    }
    int state = check(c, octets, (size_t)got);
    if (state < 0) {
        leave(c, &told.wrong);
        return;
    }
    if (state == 0)
        return;
    long took = (long)(milliseconds() - c->began);
    if (*c->step == GREETING && took > told.longest)
        told.longest = took;
    if (*c->step == SLOWLY)
        watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    next_step(c);
}

static const char *choose_steps(void) {
    int number = rand() % 100;
    for (size_t i = 0;; i++)
        if ((number -= kinds[i].of_hundred) < 0)
            return kinds[i].steps;
}

static void come(int port) {
    struct client *c = clients;
    while (c < clients + MOST_CLIENTS && c->used)
        c++;
    told.connects++;
    if (c == clients + MOST_CLIENTS || (c->fd = connect_to(port, 0)) < 0) {
        told.late++;
        return;
    }
    *c = (struct client){.fd = c->fd, .used = 1, .step = choose_steps(), .began = milliseconds()};
    living++;
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
}

/* What is not woken by the network: who waits, and who reads slowly. */
static void tick(uint64_t now) {
    for (struct client *c = clients; c < clients + MOST_CLIENTS; c++) {
        if (c->used && is_waiting(c) && (hurry || now >= c->wakes))
            next_step(c);
        else if (c->used && *c->step == SLOWLY)
            hear(c);
    }
}

static void hear_all(uint64_t until) {
    struct epoll_event events[EVENTS];
    uint64_t now;
    while ((now = milliseconds()) < until) {
        int count = epoll_wait(epoll, events, EVENTS, (int)(until - now));
        for (int i = 0; i < count; i++) {
            struct client *c = events[i].data.ptr;
            if (c->used && *c->step == SLOWLY && events[i].events & (EPOLLERR | EPOLLHUP))
                watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLET, c);      /* the tick finds it */
            else if (c->used)
                hear(c);
        }
    }
}

static void storm(int port, int rate, uint64_t deadline) {
    uint64_t began = milliseconds(), now = began;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while ((!hurry || living) && now < deadline) {
        hurry = hurry || poll(&input, 1, 0) != 0;
        while (!hurry && (uint64_t)told.connects * 1000 < (now - began) * (uint64_t)rate)
            come(port);
        tick(now);
        hear_all(now + TICK_MS);
        now = milliseconds();
    }
    told.late += living;
    printf("{\"connects\": %ld, \"served\": %ld, \"denied\": %ld, \"refused\": %ld, \"reset\": %ld, \"cut\": %ld, "
           "\"wrong\": %ld, \"late\": %ld, \"longest\": %ld}\n", told.connects, told.served, told.denied, told.refused,
           told.reset, told.cut, told.wrong, told.late, told.longest);
}

int main(int argc, char **argv) {
    int option, server = 0, port = 0, rate = 300;
    unsigned seconds = 60;
    while ((option = getopt(argc, argv, "bp:r:t:")) != -1) {
        if (option == 'b')
            server = 1;
        else if (option == 'p')
            port = atoi(optarg);
        else if (option == 'r')
            rate = atoi(optarg);
        else if (option == 't')
            seconds = (unsigned)atoi(optarg);
        else
            return 2;
    }
    live_at_most(seconds + 10);
    write_mail();
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    if (server)
        serve_all();
    storm(port, rate, milliseconds() + (uint64_t)seconds * 1000);
    return 0;
}
