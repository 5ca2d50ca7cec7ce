"""The command `explain`: the machine is played, and nobody is connected, told or counted.

answers    what the modules say
dialogues  what a client says, by mechanism
explain    what would become of a login
foretold   limits, orders and health
rehearsal  a session that is only played on the machine
"""
