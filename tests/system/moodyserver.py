"""Many small POP3 servers in a process of their own, whose moods a test changes while it runs.

    python -m tests.system.moodyserver 30       prints the ports; a line "4 temp" on standard input changes the fourth
    python -m tests.system.moodyserver 1        another one, that can be stopped by itself

Moods: well; refusing (nobody listens); temp ([SYS/TEMP] to every login); slow (three seconds for each login).
"""

import asyncio
import sys
from contextlib import suppress

DELAY_SECONDS = 3.0
_LOOPBACK = "127.0.0.1"


class MoodyServer:
    """One of them; its port stays the same one."""

    def __init__(self) -> None:
        self.mood = "well"
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, _LOOPBACK, self.port, backlog=1024, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def become(self, mood: str) -> None:
        self.mood = mood
        if mood == "refusing" and self._server is not None:
            self._server.close()
            self._server = None
        elif mood != "refusing" and self._server is None:
            await self.open()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(b"+OK ready\r\n")
            while line := await reader.readline():
                if self.mood == "slow" and line[:4].upper() == b"PASS":
                    await asyncio.sleep(DELAY_SECONDS)
                writer.write(self._answer(line))
                if line[:4].upper() == b"QUIT":
                    break
        writer.close()

    def _answer(self, line: bytes) -> bytes:
        match line[:4].upper():
            case b"CAPA":
                return b"+OK\r\nUIDL\r\nUSER\r\n.\r\n"
            case b"PASS" if self.mood == "temp":
                return b"-ERR [SYS/TEMP] not now\r\n"
            case b"STAT":
                return b"+OK 0 0\r\n"
        return b"+OK\r\n"


async def serve(number: int) -> None:
    """Until standard input ends."""
    servers = [MoodyServer() for _ in range(number)]
    for server in servers:
        await server.open()
    print(*(server.port for server in servers), flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        place, mood = line.decode().split()
        await servers[int(place)].become(mood)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
