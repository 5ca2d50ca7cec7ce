/* pop3load: many POP3 clients on 127.0.0.1 at once, each of which checks every octet that it is told.
 *
 *     pop3load -p PORT [-c AT-ONCE] [-s SESSIONS] [-m] [-g SEGMENT] [-t SECONDS]    sessions: USER PASS STAT QUIT
 *     pop3load -p PORT -h HOLD [-l] [-c AT-ONCE] [-t SECONDS]                       idle connections
 *
 * Sessions: SESSIONS of them, AT-ONCE at any moment; with -m, three RETR between STAT and QUIT. A session lasts from
 * connect to the end of file behind the reply to QUIT. It is an error if a reply is not +OK, if STAT or a mail differs
 * from what pop3sink sends, if anything comes unasked, or if the end comes early. One JSON line tells how it went;
 * latencies in microseconds. Sessions that are not over after SECONDS are errors. Half a reply is acknowledged at once:
 * a proxy that leaves Nagle's algorithm on would else wait 40 ms for it at every mail, and hide what it costs.
 *
 * Hold: opens HOLD connections, AT-ONCE at any moment, reads the greeting (with -l: logs in), prints a JSON line, keeps
 * them until standard input ends, then counts those that did not stay silent and open, and prints a second line.
 */
#include "bench.h"
#include <poll.h>
#include <time.h>

enum { WITHOUT_MAILS = 5, WITH_MAILS = WITHOUT_MAILS + MAILS, READ_MOST = 1 << 16 };

struct step {
    const char *command;    /* NULL: the reply comes unasked, as the greeting does */
    const char *reply;      /* every octet of it; NULL: any line that begins with +OK */
    size_t length;
};

struct client {
    int fd;
    int user;
    int step;
    size_t got;             /* octets of the current reply */
    uint64_t began;
};

static struct step steps[WITH_MAILS];
static int step_count, epoll, port, segment, sessions, started, ended, errors;
static struct client *clients;
static uint32_t *latencies;
static int latency_count;

static uint64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void add_step(const char *command, const char *reply, size_t length) {
    steps[step_count++] = (struct step){command, reply, length};
}

static void write_steps(int with_mails) {
    static char stat[64], retr[RETR_ROOM], commands[MAILS][16];
    size_t stat_length = (size_t)sprintf(stat, "+OK %d %d\r\n", MAILS, MAILS * MAIL_OCTETS);
    size_t retr_length = write_retr_reply(retr);
    add_step(NULL, NULL, 0);
    add_step("USER", NULL, 0);
    add_step("PASS secret\r\n", NULL, 0);
    add_step("STAT\r\n", stat, stat_length);
    for (int i = 0; with_mails && i < MAILS; i++) {
        sprintf(commands[i], "RETR %d\r\n", i + 1);
        add_step(commands[i], retr, retr_length);
    }
    add_step("QUIT\r\n", NULL, 0);
}

static int start(struct client *c) {
    c->user = started++;
    c->step = 0;
    c->got = 0;
    c->began = microseconds();
    c->fd = connect_to(port, segment);
    if (c->fd < 0)
        return 0;
    set_option(c->fd, IPPROTO_TCP, TCP_NODELAY);
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
    return 1;
}

static void start_next(struct client *c) {
    while (started < sessions && !start(c)) {
        errors++;
        ended++;
    }
}

static int ask(struct client *c) {
    char line[32];
    const char *command = steps[c->step].command;
    size_t length = strlen(command);
    if (strcmp(command, "USER") == 0) {
        length = (size_t)sprintf(line, "USER user%d\r\n", c->user % 100000);
        command = line;
    }
    return send(c->fd, command, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Takes octets of the reply to the current step. Returns 1 when it is whole, 0 when not yet, -1 when it is wrong. */
static int check(struct client *c, const char *octets, size_t length) {
    const struct step *step = &steps[c->step];
    const char *expected = step->reply ? step->reply : "+OK";
    size_t whole = step->reply ? step->length : 3;
    size_t compare = c->got < whole ? whole - c->got : 0;
    if (step->reply && length > compare)
        return -1;
    if (memcmp(octets, expected + c->got, compare < length ? compare : length) != 0)
        return -1;
    c->got += length;
    if (step->reply)
        return c->got == whole;
    const char *newline = memchr(octets, '\n', length);
    return newline ? (newline == octets + length - 1 ? 1 : -1) : 0;
}

/* Returns 1 while the session goes on, 0 when it is over as it should, -1 when it went wrong. */
static int hear(struct client *c) {
    static char octets[READ_MOST];
    ssize_t got = recv(c->fd, octets, sizeof octets, 0);
    if (got < 0)
        return errno == EAGAIN ? 1 : -1;
    if (c->step == step_count || got == 0)
        return c->step == step_count && got == 0 ? 0 : -1;
    int state = check(c, octets, (size_t)got);
    if (state == 0)
        set_option(c->fd, IPPROTO_TCP, TCP_QUICKACK);
    if (state <= 0)
        return state < 0 ? -1 : 1;
    c->got = 0;
    if (++c->step == step_count)
        return 1;
    return ask(c) ? 1 : -1;
}

static void serve(struct client *c) {
    int state = hear(c);
    if (state == 1)
        return;
    close(c->fd);
    ended++;
    if (state < 0)
        errors++;
    else
        latencies[latency_count++] = (uint32_t)(microseconds() - c->began);
    start_next(c);
}

static int wait_for_events(struct epoll_event *events, uint64_t deadline) {
    uint64_t now = microseconds();
    return now < deadline ? epoll_wait(epoll, events, EVENTS, (int)((deadline - now) / 1000 + 1)) : 0;
}

static int compare_latencies(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(int percent) {
    return latency_count ? latencies[(long)(latency_count - 1) * percent / 100] : 0;
}

static void run_sessions(int at_once, uint64_t deadline) {
    uint64_t began = microseconds();
    for (int i = 0; i < at_once; i++)
        start_next(&clients[i]);
    while (ended < sessions) {
        struct epoll_event events[EVENTS];
        int count = wait_for_events(events, deadline);
        if (count <= 0)
            break;
        for (int i = 0; i < count; i++)
            serve(events[i].data.ptr);
    }
    double seconds = (double)(microseconds() - began) / 1e6;
    qsort(latencies, (size_t)latency_count, sizeof *latencies, compare_latencies);
    printf("{\"sessions\": %d, \"errors\": %d, \"seconds\": %.6f, \"p50\": %u, \"p99\": %u}\n", sessions,
           errors + sessions - ended, seconds, percentile(50), percentile(99));
}

/* Opens connections up to the given step and leaves them there. Returns how many came so far. */
static int open_connections(int at_once, int last_step, uint64_t deadline) {
    int held = 0;
    step_count = last_step;                  /* hear() asks nothing behind it */
    while (held + errors < sessions) {
        struct epoll_event events[EVENTS];
        while (started < sessions && started - held - errors < at_once) {
            if (!start(&clients[started]))
                errors++;
        }
        int count = wait_for_events(events, deadline);
        if (count <= 0)
            break;
        for (int i = 0; i < count; i++) {
            struct client *c = events[i].data.ptr;
            if (c->step == last_step || hear(c) < 0) {
                watch(epoll, EPOLL_CTL_DEL, c->fd, 0, NULL);
                errors++;
                held -= c->step == last_step;
            } else if (c->step == last_step) {
                held++;
            }
        }
    }
    return held;
}

static void hold(int at_once, int logged_in, uint64_t deadline) {
    int held = open_connections(at_once, logged_in ? 3 : 1, deadline), lost = 0;
    printf("{\"held\": %d, \"errors\": %d}\n", held, sessions - held);
    fflush(stdout);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now = microseconds();
    poll(&input, 1, now < deadline ? (int)((deadline - now) / 1000) : 0);
    for (int i = 0; i < started; i++) {
        char octet;
        lost += !(recv(clients[i].fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN);
    }
    printf("{\"lost\": %d}\n", lost);
}

int main(int argc, char **argv) {
    int option, at_once = 32, with_mails = 0, to_hold = 0, logged_in = 0;
    unsigned seconds = 60;
    sessions = 1000;
    while ((option = getopt(argc, argv, "p:c:s:mg:h:lt:")) != -1) {
        if (option == 'p')
            port = atoi(optarg);
        else if (option == 'c')
            at_once = atoi(optarg);
        else if (option == 's')
            sessions = atoi(optarg);
        else if (option == 'm')
            with_mails = 1;
        else if (option == 'g')
            segment = atoi(optarg);
        else if (option == 'h')
            sessions = to_hold = atoi(optarg);
        else if (option == 'l')
            logged_in = 1;
        else if (option == 't')
            seconds = (unsigned)atoi(optarg);
        else
            return 2;
    }
    if (at_once < 1 || sessions < 1 || sessions > 10000000)
        return 2;
    live_at_most(seconds + 10);
    write_steps(with_mails);
    clients = calloc((size_t)(to_hold ? to_hold : at_once), sizeof *clients);
    latencies = calloc((size_t)sessions, sizeof *latencies);
    if (!clients || !latencies || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("start");
    uint64_t deadline = microseconds() + (uint64_t)seconds * 1000000;
    if (to_hold)
        hold(at_once, logged_in, deadline);
    else
        run_sessions(at_once, deadline);
    return 0;
}
