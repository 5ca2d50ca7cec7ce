"""TLS: certificates, who answers with which, and which backends are shown one.

    certificate   one certificate with its key, read and checked
    directory     tlsdir: what is in it, what of it is usable, and what changes when it is read again
    contexts      how each server of a config speaks TLS: which certificates answer which server name, as OpenSSL's
                  contexts, made in the workers; and the ticket contexts that all workers have in common
    ciphers       which lists of cipher suites may be said
    users         what of a config uses certificates
    authorities   files of CA certificates, as the config holds them
    variables     those about TLS, of every program that speaks it
    supply        what a new config needs of tlsdir
    commands      `tls list`, `tls check` and the like
    groups        which key exchanges there are, for all contexts of the process

The handshake is in `popular/net/handshake.py`.

The directory is read by a job of the master only. What it found travels to the workers inside the config, so that
all of them have exactly what was tried, also a worker that is born after a file broke.
"""
