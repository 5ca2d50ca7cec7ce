"""TLS towards clients: certificates and who answers with which.

    certificate   one certificate with its key, read and checked
    directory     tlsdir: what is in it, what of it is usable, and what changes when it is read again
    choice        which certificates answer which server name
    contexts      OpenSSL's contexts, made in the workers; and the ticket contexts that all workers have in common
    groups        which key exchanges there are, for all contexts of the process

The commands about them are in `popular/proxy/settings/certificates.py`, the handshake in `popular/net/handshake.py`.

The directory is read by a job of the master only. What it found travels to the workers inside the config, so that
all of them have exactly what was tried, also a worker that is born after a file broke.
"""
