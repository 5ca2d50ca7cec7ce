/* pop3floor: the least a POP3 proxy can cost. A contestant, not a product: no limits, no timers, no log.
 *
 *     pop3floor -b BACKEND-PORT [-p PORT] [-w WORKERS] [-t SECONDS]
 *
 * Does what every proxy that looks at the user name must do (greet, read USER and PASS, connect, log in there line by
 * line), then relays: small things by recv and send, what the backend says by splice. Prints its port when it listens.
 * Each worker has a listening socket of its own on that port, one epoll loop, and one pipe, which it lends to a session
 * whose client is slow. A client must wait for each reply until it is logged in; one that types more than 512 octets
 * before, or whose commands the backend does not take at once, is cut off.
 */
#include "bench.h"

enum { SPLICE_MOST = 1 << 16 };

enum stage { AWAIT_USER, AWAIT_PASS, AWAIT_BANNER, AWAIT_USER_REPLY, AWAIT_PASS_REPLY, RELAY };

struct session;

struct leg {
    int fd;
    struct session *session;
};

struct session {
    struct leg client, backend;
    enum stage stage;
    int pipe[2];             /* lent by the worker while the client is slow; else -1 */
    size_t in_pipe;
    size_t held, user_length;
    char typed[512];         /* the USER line, then the PASS line */
    struct session *next_dead;
};

static int epoll, backend_port, spare_pipe[2];
static struct session *dead;   /* freed after the batch of events, which may still name them */

static void end(struct session *s) {
    if (s->client.fd < 0)
        return;
    close(s->client.fd);
    s->client.fd = -1;
    if (s->backend.fd >= 0)
        close(s->backend.fd);
    if (s->pipe[0] >= 0) {
        close(s->pipe[0]);
        close(s->pipe[1]);
    }
    s->next_dead = dead;
    dead = s;
}

static void bury(void) {
    while (dead) {
        struct session *s = dead;
        dead = s->next_dead;
        free(s);
    }
}

static int say(int fd, const char *octets, size_t length) {
    return send(fd, octets, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static int call_backend(struct session *s) {
    int fd = connect_to(backend_port, 0);
    if (fd < 0)
        return 0;
    s->backend.fd = fd;
    set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, &s->backend);
    s->stage = AWAIT_BANNER;
    return 1;
}

/* The client before it is logged in. Nothing is expected behind PASS until that is answered. */
static int hear_credentials(struct session *s) {
    ssize_t got = recv(s->client.fd, s->typed + s->held, sizeof s->typed - s->held, 0);
    if (got <= 0)
        return 0;
    s->held += (size_t)got;
    if (s->typed[s->held - 1] != '\n')
        return s->held < sizeof s->typed;
    if (s->stage == AWAIT_USER) {
        s->user_length = s->held;
        s->stage = AWAIT_PASS;
        return strncasecmp(s->typed, "USER ", 5) == 0 && say(s->client.fd, "+OK\r\n", 5);
    }
    return s->stage == AWAIT_PASS && call_backend(s);
}

/* The backend before it let us in. Its replies here are one line each, and short: they come in one piece. */
static int hear_login_reply(struct session *s) {
    char reply[512];
    ssize_t got = recv(s->backend.fd, reply, sizeof reply, 0);
    if (got < 3 || memcmp(reply, "+OK", 3) != 0)
        return 0;
    s->stage++;
    if (s->stage == AWAIT_USER_REPLY)
        return say(s->backend.fd, s->typed, s->user_length);
    if (s->stage == AWAIT_PASS_REPLY)
        return say(s->backend.fd, s->typed + s->user_length, s->held - s->user_length);
    return say(s->client.fd, reply, (size_t)got);
}

static int relay_to_backend(struct session *s) {
    char octets[4096];
    ssize_t got = recv(s->client.fd, octets, sizeof octets, 0);
    return got > 0 && say(s->backend.fd, octets, (size_t)got);
}

/* The session keeps the pipe that holds its octets, and the worker takes a new one. */
static int lend_pipe(struct session *s) {
    memcpy(s->pipe, spare_pipe, sizeof spare_pipe);
    watch(epoll, EPOLL_CTL_MOD, s->backend.fd, 0, &s->backend);
    watch(epoll, EPOLL_CTL_MOD, s->client.fd, EPOLLOUT, &s->client);
    return pipe2(spare_pipe, O_NONBLOCK | O_CLOEXEC) == 0;
}

/* Empties the pipe towards the client. Returns 0 when the client is gone. */
static int pour(struct session *s, const int *pipe) {
    while (s->in_pipe) {
        ssize_t moved = splice(pipe[0], NULL, s->client.fd, NULL, s->in_pipe, SPLICE_F_NONBLOCK);
        if (moved <= 0)
            return moved < 0 && errno == EAGAIN;
        s->in_pipe -= (size_t)moved;
    }
    return 1;
}

static int relay_to_client(struct session *s) {
    ssize_t moved = splice(s->backend.fd, NULL, spare_pipe[1], NULL, SPLICE_MOST, SPLICE_F_NONBLOCK);
    if (moved <= 0)
        return moved < 0 && errno == EAGAIN;
    s->in_pipe = (size_t)moved;
    if (!pour(s, spare_pipe)) {
        lend_pipe(s);          /* what is left in it must not reach anybody else */
        return 0;
    }
    return s->in_pipe == 0 || lend_pipe(s);
}

static int go_on_with_client(struct session *s) {
    if (!pour(s, s->pipe))
        return 0;
    if (s->in_pipe)
        return 1;
    close(s->pipe[0]);
    close(s->pipe[1]);
    s->pipe[0] = s->pipe[1] = -1;
    watch(epoll, EPOLL_CTL_MOD, s->backend.fd, EPOLLIN, &s->backend);
    watch(epoll, EPOLL_CTL_MOD, s->client.fd, EPOLLIN, &s->client);
    return 1;
}

static void serve(struct leg *leg) {
    struct session *s = leg->session;
    if (s->client.fd < 0)
        return;
    int from_client = leg == &s->client, alive;
    if (s->stage == RELAY && from_client)
        alive = s->pipe[0] >= 0 ? go_on_with_client(s) : relay_to_backend(s);
    else if (s->stage == RELAY)
        alive = s->pipe[0] < 0 && relay_to_client(s);   /* not asked for while the pipe is lent: it is an error then */
    else
        alive = from_client ? hear_credentials(s) : hear_login_reply(s);
    if (!alive)
        end(s);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct session *s = malloc(sizeof *s);
        if (!s)
            die("malloc");
        s->client = (struct leg){fd, s};
        s->backend = (struct leg){-1, s};
        s->stage = AWAIT_USER;
        s->pipe[0] = s->pipe[1] = -1;
        s->in_pipe = s->held = s->user_length = 0;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, &s->client);
        if (!say(fd, "+OK pop3floor\r\n", 15))
            end(s);
    }
}

static void work(int listener) {
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    if (pipe2(spare_pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        die("pipe2");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                accept_all(listener);
        }
        bury();
    }
}

int main(int argc, char **argv) {
    int option, port = 0, workers = 1;
    unsigned seconds = 600;
    while ((option = getopt(argc, argv, "b:p:w:t:")) != -1) {
        if (option == 'b')
            backend_port = atoi(optarg);
        else if (option == 'p')
            port = atoi(optarg);
        else if (option == 'w')
            workers = atoi(optarg);
        else if (option == 't')
            seconds = (unsigned)atoi(optarg);
        else
            return 2;
    }
    live_at_most(seconds);
    int listener = listen_on(port);
    port = port_of(listener);
    for (int i = 1; i < workers; i++) {
        int another = listen_on(port);
        if (fork() == 0) {
            live_at_most(seconds);
            close(listener);
            work(another);
        }
        close(another);
    }
    printf("%d\n", port);
    fflush(stdout);
    work(listener);
}
