/* What the bench's C programs share: the mail that every mailbox holds, sockets on 127.0.0.1, and a bounded life.
 *
 * Each program ends by itself after the seconds of its option -t, and when its parent dies; it may open as many files as
 * the hard limit allows. A failure at start prints one line and exits with 1.
 */
#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAILS = 3,
    MAIL_LINE = 80,                      /* octets of a line, with its CRLF */
    MAIL_OCTETS = 256 * MAIL_LINE,       /* as STAT counts them: 20,480, without dot-stuffing; -o changes it */
    EVENTS = 256,
};

static int mail_octets = MAIL_OCTETS;

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static inline void live_at_most(unsigned seconds) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    alarm(seconds);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* Octets of a mail, as -o says it; 0 where that is no whole number of lines. */
static inline int whole_lines(const char *text) {
    int octets = atoi(text);
    return octets >= MAIL_LINE && octets <= 100 << 20 && octets % MAIL_LINE == 0 ? octets : 0;
}

/* The whole reply to RETR: every line differs, and one begins with a dot, so that a lost or doubled octet shows. */
static inline char *write_retr_reply(size_t *length) {
    char *reply = malloc((size_t)mail_octets + 64);      /* status line, mail, one stuffed dot, end line */
    if (!reply)
        die("malloc");
    char *end = reply + sprintf(reply, "+OK %d octets\r\n", mail_octets);
    for (int line = 0; line < mail_octets / MAIL_LINE; line++) {
        char text[MAIL_LINE + 1];
        memset(text, 'a' + line % 26, MAIL_LINE);
        text[sprintf(text, line == 100 ? ".%05d" : "%06d", line)] = ' ';
        memcpy(text + MAIL_LINE - 2, "\r\n", 2);
        if (text[0] == '.')
            *end++ = '.';
        memcpy(end, text, MAIL_LINE);
        end += MAIL_LINE;
    }
    memcpy(end, ".\r\n", 3);
    *length = (size_t)(end + 3 - reply);
    return reply;
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void set_option(int fd, int level, int option) {
    int on = 1;
    if (setsockopt(fd, level, option, &on, sizeof on) < 0)
        die("setsockopt");
}

/* A listening socket; port 0 lets the kernel choose. What it accepts inherits TCP_NODELAY and SO_KEEPALIVE. */
static inline int listen_on(int port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    set_option(fd, SOL_SOCKET, SO_REUSEADDR);
    set_option(fd, SOL_SOCKET, SO_REUSEPORT);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    if (listen(fd, 4096) < 0)
        die("listen");
    return fd;
}

static inline int port_of(int fd) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        die("getsockname");
    return ntohs(address.sin_port);
}

/* The largest TCP segment of this socket, or of all that a listener will accept; 0 leaves loopback's own, 65,483. */
static inline void limit_segment(int fd, int octets) {
    if (octets && setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &octets, sizeof octets) < 0)
        die("TCP_MAXSEG");
}

/* A connection under way, or -1. It need not be complete: what the peer says first, or an error, wakes epoll. */
static inline int connect_to(int port, int segment) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    limit_segment(fd, segment);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void watch(int epoll, int operation, int fd, uint32_t events, void *what) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        die("epoll_ctl");
}

#endif
