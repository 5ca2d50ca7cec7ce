"""The command `explain`: the machine is played, and nobody is connected, told or counted."""
