/* pop3load: many POP3 clients on 127.0.0.1 at once, each of which checks every octet that it is told.
 *
 *     pop3load -p PORT [-c AT-ONCE] [-s SESSIONS] [-m] [-e] [-o OCTETS] [TLS]     sessions: USER PASS STAT QUIT
 *     pop3load -p PORT -R RATE [-s SESSIONS] [-m] [-e] [-o OCTETS] [TLS]          the same, so many a second
 *     pop3load -p PORT -h HOLD [-l] [-c AT-ONCE] [TLS]                            idle connections
 *     TLS: -T AUTHORITY [-2] [-k FILE] [-r FILE]      all: [-g SEGMENT] [-t SECONDS]
 *
 * Sessions: SESSIONS of them, AT-ONCE at any moment; with -m, three RETR between STAT and QUIT, of mails of OCTETS (as
 * pop3sink -o); with -e the mailbox must be empty. A session lasts from connect to the end of file behind the reply to
 * QUIT. It is an error if a reply is not +OK, if STAT or a mail differs from what pop3sink sends, if anything comes
 * unasked, or if the end comes early. One JSON line tells how it went; latencies in microseconds, those of the login to
 * the reply to PASS. Sessions that are not over after SECONDS are errors. Half a reply is acknowledged at once: a proxy
 * that leaves Nagle's algorithm on would else wait 40 ms for it at every mail, and hide what it costs.
 *
 * At a RATE, sessions begin when it is their time, however long the others take, and their latency counts from that
 * time, also if the client is late itself (`late_p99` says how late): a server that stalls is not asked less.
 *
 * TLS: the certificate must come from AUTHORITY and be for localhost; the version is
 * 1.3, with -2 it is 1.2. -k writes a session that
 * can be resumed into FILE; -r begins with that one, and goes on with the newest that each client is given. `resumed`
 * counts what really was, `clean` the sessions that the server ended by close_notify.
 *
 * Hold: opens HOLD connections, AT-ONCE at any moment, reads the greeting (with -l: logs in), prints a JSON line, keeps
 * them until standard input ends, then counts those that did not stay silent and open, and prints a second line.
 */
#include "bench.h"
#include "wire.h"
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>

enum { WITHOUT_MAILS = 5, WITH_MAILS = WITHOUT_MAILS + MAILS, READ_MOST = 1 << 16, LOGGED_IN = 3 };

struct step {
    const char *command;    /* NULL: the reply comes unasked, as the greeting does */
    const char *reply;      /* every octet of it; NULL: any line that begins with +OK */
    size_t length;
};

struct client {
    struct wire wire;
    int user;
    int step;
    size_t got;             /* octets of the current reply */
    uint64_t began;         /* at a rate: when it should have */
};

struct latencies {
    uint32_t *all;
    int count;
};

static struct step steps[WITH_MAILS];
static int step_count, epoll, port, segment, sessions, started, ended, errors, resumed, clean;
static struct client *clients;
static struct latencies whole, logins, lateness;

static uint64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void record(struct latencies *latencies, uint64_t since) {
    latencies->all[latencies->count++] = (uint32_t)(microseconds() - since);
}

static void add_step(const char *command, const char *reply, size_t length) {
    steps[step_count++] = (struct step){command, reply, length};
}

static void write_steps(int with_mails, int empty) {
    static char stat[64], commands[MAILS][16];
    int mails = empty ? 0 : MAILS;
    size_t stat_length = (size_t)sprintf(stat, "+OK %d %d\r\n", mails, mails * mail_octets);
    size_t retr_length;
    const char *retr = write_retr_reply(&retr_length);
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
    if (!wire_open(&c->wire, port, segment))
        return 0;
    watch(epoll, EPOLL_CTL_ADD, c->wire.fd, wire_first_events(), c);
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
    return wire_write(&c->wire, command, length);
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

/* The handshake; behind it epoll need not say any more that there is room. Returns as hear does. */
static int shake(struct client *c) {
    int going = wire_shake(&c->wire);
    watch(epoll, EPOLL_CTL_MOD, c->wire.fd, EPOLLIN, c);
    return going;
}

/* Returns 1 while the session goes on, 0 when it is over as it should, -1 when it went wrong. */
static int hear(struct client *c) {
    static char octets[READ_MOST];
    if (!c->wire.shaken)
        return shake(c);
    ssize_t got = wire_read(&c->wire, octets, sizeof octets);
    if (got < 0)
        return errno == EAGAIN ? 1 : -1;
    if (c->step == step_count || got == 0)
        return c->step == step_count && got == 0 ? 0 : -1;
    int state = check(c, octets, (size_t)got);
    if (state == 0)
        set_option(c->wire.fd, IPPROTO_TCP, TCP_QUICKACK);
    if (state <= 0)
        return state < 0 ? -1 : 1;
    c->got = 0;
    if (++c->step == LOGGED_IN && logins.all)
        record(&logins, c->began);
    if (c->step == step_count)
        return 1;
    return ask(c) ? 1 : -1;
}

/* Returns 1 when this one is over, in whatever way. */
static int serve(struct client *c) {
    int state = hear(c);
    if (state == 1)
        return 0;
    wire_close(&c->wire);
    ended++;
    if (state < 0) {
        errors++;
        return 1;
    }
    record(&whole, c->began);
    resumed += c->wire.resumed;
    clean += c->wire.clean;
    return 1;
}

/* Returns 0 when the time is over. That the program was stopped for a while is no event. */
static int wait_for_events(struct epoll_event *events, uint64_t deadline) {
    for (uint64_t now; (now = microseconds()) < deadline;) {
        int count = epoll_wait(epoll, events, EVENTS, (int)((deadline - now) / 1000 + 1));
        if (count >= 0 || errno != EINTR)
            return count;
    }
    return 0;
}

static int compare_latencies(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(const struct latencies *of, int percent) {
    return of->count ? of->all[(long)(of->count - 1) * percent / 100] : 0;
}

static void sort(struct latencies *of) {
    qsort(of->all, (size_t)of->count, sizeof *of->all, compare_latencies);
}

static void tell(uint64_t began) {
    double seconds = (double)(microseconds() - began) / 1e6;
    sort(&whole);
    sort(&logins);
    sort(&lateness);
    printf("{\"sessions\": %d, \"errors\": %d, \"seconds\": %.6f, \"p50\": %u, \"p99\": %u, \"login_p50\": %u, "
           "\"login_p99\": %u, \"late_p99\": %u, \"resumed\": %d, \"clean\": %d}\n",
           sessions, errors + sessions - ended, seconds, percentile(&whole, 50), percentile(&whole, 99),
           percentile(&logins, 50), percentile(&logins, 99), percentile(&lateness, 99), resumed, clean);
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
            if (serve(events[i].data.ptr))
                start_next(events[i].data.ptr);
    }
    tell(began);
}

/* Starts those whose time has come, and sets the timer for the next one. */
static void start_due(int timer, uint64_t began, int rate) {
    while (started < sessions) {
        uint64_t due = began + (uint64_t)started * 1000000 / (uint64_t)rate;
        if (due > microseconds()) {
            struct itimerspec next = {.it_value = {(time_t)(due / 1000000), (long)(due % 1000000) * 1000}};
            if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &next, NULL) < 0)
                die("timerfd_settime");
            return;
        }
        struct client *c = &clients[started];
        record(&lateness, due);
        if (!start(c)) {
            errors++;
            ended++;
        }
        c->began = due;
    }
}

static void run_at_rate(int rate, uint64_t deadline) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0)
        die("timerfd_create");
    watch(epoll, EPOLL_CTL_ADD, timer, EPOLLIN, NULL);
    uint64_t began = microseconds();
    start_due(timer, began, rate);
    while (ended < sessions) {
        struct epoll_event events[EVENTS];
        int count = wait_for_events(events, deadline);
        if (count <= 0)
            break;
        for (int i = 0; i < count; i++) {
            uint64_t times;
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN)
                die("timerfd");
        }
        start_due(timer, began, rate);
    }
    tell(began);
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
            int was_held = c->step == last_step;      /* it may still be given tickets of TLS, but no word */
            if (hear(c) != 1) {
                watch(epoll, EPOLL_CTL_DEL, c->wire.fd, 0, NULL);
                errors++;
                held -= was_held;
            } else if (!was_held && c->step == last_step) {
                held++;
            }
        }
    }
    return held;
}

static void hold(int at_once, int logged_in, uint64_t deadline) {
    int held = open_connections(at_once, logged_in ? LOGGED_IN : 1, deadline), lost = 0;
    printf("{\"held\": %d, \"errors\": %d}\n", held, sessions - held);
    fflush(stdout);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now = microseconds();
    poll(&input, 1, now < deadline ? (int)((deadline - now) / 1000) : 0);
    for (int i = 0; i < started; i++) {
        char octet;
        lost += !(wire_read(&clients[i].wire, &octet, 1) < 0 && errno == EAGAIN);
    }
    printf("{\"lost\": %d}\n", lost);
}

static struct latencies room(void) {
    uint32_t *all = calloc((size_t)sessions, sizeof *all);
    if (!all)
        die("calloc");
    return (struct latencies){all, 0};
}

int main(int argc, char **argv) {
    int option, at_once = 32, with_mails = 0, empty = 0, to_hold = 0, logged_in = 0, rate = 0, is_1_2 = 0;
    const char *authority = NULL, *keep = NULL, *resume = NULL;
    unsigned seconds = 60;
    sessions = 1000;
    while ((option = getopt(argc, argv, "p:c:s:meo:R:g:h:lT:2k:r:t:")) != -1) {
        if (option == 'p')
            port = atoi(optarg);
        else if (option == 'c')
            at_once = atoi(optarg);
        else if (option == 's')
            sessions = atoi(optarg);
        else if (option == 'm')
            with_mails = 1;
        else if (option == 'e')
            empty = 1;
        else if (option == 'o' && whole_lines(optarg))
            mail_octets = whole_lines(optarg);
        else if (option == 'R' && atoi(optarg) > 0)
            rate = atoi(optarg);
        else if (option == 'g')
            segment = atoi(optarg);
        else if (option == 'h')
            sessions = to_hold = atoi(optarg);
        else if (option == 'l')
            logged_in = 1;
        else if (option == 'T')
            authority = optarg;
        else if (option == '2')
            is_1_2 = 1;
        else if (option == 'k')
            keep = optarg;
        else if (option == 'r')
            resume = optarg;
        else if (option == 't')
            seconds = (unsigned)atoi(optarg);
        else
            return 2;
    }
    if (at_once < 1 || sessions < 1 || sessions > 10000000 || ((is_1_2 || keep || resume) && !authority))
        return 2;
    live_at_most(seconds + 10);
#ifdef WITH_TLS
    if (authority)
        tls_start(authority, is_1_2);
    if (resume)
        tls_read_session(resume);
#else
    if (authority) {
        fprintf(stderr, "compiled without TLS\n");
        return 2;
    }
#endif
    write_steps(with_mails, empty);
    clients = calloc((size_t)(to_hold || rate ? sessions : at_once), sizeof *clients);
    if (!clients || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("start");
    uint64_t deadline = microseconds() + (uint64_t)seconds * 1000000;
    if (to_hold) {
        hold(at_once, logged_in, deadline);
        return 0;
    }
    whole = room();
    logins = room();
    lateness = room();
    if (rate)
        run_at_rate(rate, deadline);
    else
        run_sessions(at_once, deadline);
#ifdef WITH_TLS
    if (keep)
        tls_write_session(keep);
#endif
    return 0;
}
