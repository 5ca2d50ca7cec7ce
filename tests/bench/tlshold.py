"""`python -m tests.bench.tlshold PORT CA COUNT [-l]`: many idle clients in TLS, as `pop3load -h` makes them in clear.

Opens COUNT connections one after the other, reads the greeting (with -l: logs in), prints a JSON line, keeps them until
standard input ends, counts those that did not stay silent and open, and prints a second line. The handshakes are whole
ones, the certificate is verified.
"""

import json
import select
import socket
import ssl
import sys

ANSWER_SECONDS = 10


def _answer(client: ssl.SSLSocket) -> None:
    """Reads one reply. Raises ValueError unless it is +OK."""
    said = b""
    while not said.endswith(b"\n"):
        piece = client.recv(512)
        if not piece:
            raise ValueError("closed")
        said += piece
    if not said.startswith(b"+OK"):
        raise ValueError(said.decode("ascii", "replace"))


def connect(port: int, context: ssl.SSLContext, number: int, login: bool) -> ssl.SSLSocket:
    """One client, greeted or logged in. Raises OSError, ValueError."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    client = context.wrap_socket(plain, server_hostname="localhost")
    _answer(client)
    for command in (f"USER user{number}", "PASS secret") if login else ():
        client.sendall(command.encode() + b"\r\n")
        _answer(client)
    return client


def _lost(clients: list[ssl.SSLSocket]) -> int:
    """How many have something to say though nobody asked: a word, or the end."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    return len(poll.poll(0))


def main() -> None:
    port, ca, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    context = ssl.create_default_context(cafile=ca)
    clients, errors = [], 0
    for number in range(count):
        try:
            clients.append(connect(port, context, number, "-l" in sys.argv))
        except (OSError, ValueError):
            errors += 1
    for client in clients:
        client.setblocking(False)
        try:
            client.recv(1)  # takes in the tickets that TLS 1.3 sends behind the handshake
        except ssl.SSLWantReadError:
            pass
    print(json.dumps({"held": len(clients), "errors": errors}), flush=True)
    sys.stdin.read()
    print(json.dumps({"lost": _lost(clients)}), flush=True)
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
