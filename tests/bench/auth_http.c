/* auth_http: answers nginx's question "who is this?" always with the same storage server.
 *
 *     auth_http -b BACKEND-PORT [-p PORT] [-t SECONDS]
 *
 * HTTP/1.0: one request, one answer, end of connection. A request that does not fit in 4,096 octets is cut off. Prints
 * its port when it listens. Its cost is not counted: nginx leaves the route to others.
 */
#include "bench.h"

struct request {
    int fd;
    size_t held;
    char octets[4096];
};

static char answer[160];
static size_t answer_length;

/* Returns 1 while more of the request is to come. */
static int hear(struct request *r) {
    ssize_t got = recv(r->fd, r->octets + r->held, sizeof r->octets - r->held, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    r->held += (size_t)got;
    if (r->held < 4 || memcmp(r->octets + r->held - 4, "\r\n\r\n", 4) != 0)
        return r->held < sizeof r->octets;
    if (send(r->fd, answer, answer_length, MSG_NOSIGNAL) < 0)
        perror("send");
    return 0;
}

static void accept_all(int epoll, int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct request *r = malloc(sizeof *r);
        if (!r)
            die("malloc");
        r->fd = fd;
        r->held = 0;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, r);
    }
}

int main(int argc, char **argv) {
    int option, port = 0, backend_port = 0;
    unsigned seconds = 600;
    while ((option = getopt(argc, argv, "b:p:t:")) != -1) {
        if (option == 'b')
            backend_port = atoi(optarg);
        else if (option == 'p')
            port = atoi(optarg);
        else if (option == 't')
            seconds = (unsigned)atoi(optarg);
        else
            return 2;
    }
    live_at_most(seconds);
    answer_length = (size_t)snprintf(answer, sizeof answer,
                                     "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: %d\r\n\r\n",
                                     backend_port);
    int listener = listen_on(port), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    printf("%d\n", port_of(listener));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct request *r = events[i].data.ptr;
            if (!r) {
                accept_all(epoll, listener);
            } else if (!hear(r)) {
                close(r->fd);
                free(r);
            }
        }
    }
}
