/* wire.h: a client's connection, in clear or, compiled with -DWITH_TLS, in TLS, with one face for both.
 *
 * In TLS the certificate is verified against the authority that was given, for the name localhost. `resumed` says what
 * OpenSSL says (SSL_session_reused), not what was hoped for. Reads take at most one record, so epoll never forgets any.
 */
#ifndef WIRE_H
#define WIRE_H

#include "bench.h"

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#endif

struct wire {
    int fd;
    int shaken;             /* the handshake is over, or there is none */
    int resumed;            /* known when the handshake is over */
    int clean;              /* the other side ended TLS by close_notify */
#ifdef WITH_TLS
    SSL *ssl;
    SSL_SESSION *session;   /* the newest that this client was given, kept over its connections */
#endif
};

static int in_tls;

#ifdef WITH_TLS
static SSL_CTX *tls_context;
static SSL_SESSION *first_session, *last_session;
static int to_resume;

static void tls_die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ERR_reason_error_string(ERR_peek_last_error()));
    exit(1);
}

/* A session that could be resumed: in TLS 1.3 it comes some time behind the handshake, with the replies. */
static int keep_session(SSL *ssl, SSL_SESSION *session) {
    struct wire *wire = SSL_get_app_data(ssl);
    SSL_SESSION_free(last_session);
    SSL_SESSION_up_ref(session);
    last_session = session;
    if (!to_resume)
        return 0;
    SSL_SESSION_free(wire->session);
    wire->session = session;
    return 1;
}

static void hear_alert(const SSL *ssl, int where, int alert) {
    struct wire *wire = SSL_get_app_data(ssl);
    if (where == SSL_CB_READ_ALERT && (alert & 0xff) == SSL_AD_CLOSE_NOTIFY)
        wire->clean = 1;
}

static void tls_start(const char *authority, int is_1_2) {
    in_tls = 1;
    if (!(tls_context = SSL_CTX_new(TLS_client_method())))
        tls_die("SSL_CTX_new");
    if (SSL_CTX_load_verify_locations(tls_context, authority, NULL) != 1)
        tls_die(authority);
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(tls_context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(tls_context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls_context, keep_session);
    SSL_CTX_set_info_callback(tls_context, hear_alert);
    int version = is_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
    SSL_CTX_set_min_proto_version(tls_context, version);
    SSL_CTX_set_max_proto_version(tls_context, version);
}

static void tls_read_session(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file || !(first_session = PEM_read_SSL_SESSION(file, NULL, NULL, NULL)))
        die(path);
    fclose(file);
    to_resume = 1;
}

static void tls_write_session(const char *path) {
    FILE *file = last_session ? fopen(path, "w") : NULL;
    if (!file || PEM_write_SSL_SESSION(file, last_session) != 1 || fclose(file) != 0)
        die("no session was given that could be resumed");
}
#endif

/* Opens it. Returns 0 if that is not possible. */
static int wire_open(struct wire *w, int port, int segment) {
    w->resumed = w->clean = 0;
    w->shaken = !in_tls;
    w->fd = connect_to(port, segment);
    if (w->fd < 0)
        return 0;
    set_option(w->fd, IPPROTO_TCP, TCP_NODELAY);
#ifdef WITH_TLS
    w->ssl = in_tls ? SSL_new(tls_context) : NULL;
    if (!in_tls)
        return 1;
    if (!w->ssl || SSL_set_fd(w->ssl, w->fd) != 1 || SSL_set1_host(w->ssl, "localhost") != 1 ||
        SSL_set_tlsext_host_name(w->ssl, "localhost") != 1)
        tls_die("SSL_new");
    SSL_set_app_data(w->ssl, w);
    SSL_set_connect_state(w->ssl);
    if (to_resume && !w->session)
        w->session = SSL_SESSION_dup(first_session);     /* its own: OpenSSL lets no ticket be used behind a newer one */
    if (to_resume && SSL_set_session(w->ssl, w->session) != 1)
        tls_die("SSL_set_session");
#endif
    return 1;
}

/* In TLS the client speaks first, so it has to hear that the connection stands. */
static uint32_t wire_first_events(void) {
    return in_tls ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

/* As recv: octets, 0 at the end, -1 with EAGAIN when there is nothing yet. */
static ssize_t wire_read(struct wire *w, void *octets, size_t most) {
#ifdef WITH_TLS
    if (in_tls) {
        ERR_clear_error();
        int got = SSL_read(w->ssl, octets, (int)most);
        if (got > 0)
            return got;
        int error = SSL_get_error(w->ssl, got);
        errno = error == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
        return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    }
#endif
    return recv(w->fd, octets, most, 0);
}

/* Returns 1 when all of it was taken at once, which short commands are. */
static int wire_write(struct wire *w, const char *octets, size_t length) {
#ifdef WITH_TLS
    if (in_tls)
        return SSL_write(w->ssl, octets, (int)length) == (int)length;
#endif
    return send(w->fd, octets, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Goes on with the handshake. Returns 1 while that is possible or done, -1 when it failed. */
static int wire_shake(struct wire *w) {
#ifdef WITH_TLS
    ERR_clear_error();
    int done = SSL_do_handshake(w->ssl);
    if (done != 1) {
        int error = SSL_get_error(w->ssl, done);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 1 : -1;
    }
    w->resumed = SSL_session_reused(w->ssl);
#endif
    w->shaken = 1;
    return 1;
}

/* Marked as ended by both, or OpenSSL would forget the session, which can be resumed. */
static void wire_close(struct wire *w) {
#ifdef WITH_TLS
    if (w->ssl)
        SSL_set_shutdown(w->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(w->ssl);
    w->ssl = NULL;
#endif
    close(w->fd);
}

#endif
