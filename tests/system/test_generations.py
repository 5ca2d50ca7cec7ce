"""`generations`: who is still served under an old configuration is seen, and can be had gone."""

from pathlib import Path

from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until


def test_an_old_generation_is_drained(tmp_path: Path) -> None:
    """Its sessions go, also those of the ones before; who came later stays, and the one in force cannot be drained."""
    port = free_port()
    lines = ["set softfail off", f"vserv conf v iface {LOOPBACK} port {port} namespace n state online"]
    with Proxy(tmp_path, lines, workers=1, options=["-n", "100"]) as proxy, PopClient(port) as old:
        assert old.line().startswith(b"+OK")
        first = proxy.json("generations")[0]["number"]
        proxy.said("set grace 1s")
        proxy.said("set grace 2s")
        with PopClient(port) as new:
            assert new.line().startswith(b"+OK")
            wait_until(lambda: len(proxy.sessions()) == 2, "both are there")
            rows = proxy.json("generations")
            configs = {row["number"]: row["sessions"] for row in rows if row["what"] == "config"}
            assert configs == {first: 1, first + 2: 1}
            assert [row["sessions"] for row in rows if row["what"] == "birth" and row["sessions"]] == [2]
            assert all(row["oldest"] is not None for row in rows if row["sessions"])
            assert "no later one is" in proxy.control(f"generations drain {first + 2}").text
            none = f"there is no generation {first + 9}; {first + 2} is in force"
            assert none in proxy.control(f"generations drain {first + 9}").text
            said = proxy.said(f"generations drain {first + 1}").text
            assert said.startswith(f"generation {first + 1} and those before it are to go: ")
            assert old.rest().count(b"\r\n") <= 1, "it was not logged in, and is gone at once"
            new.say(b"CAPA\r\n")
            assert new.line().startswith(b"+OK")
            wait_until(lambda: len(proxy.sessions()) == 1, "the new one is left")
        assert proxy.endings()[:1] == ["kicked"]
