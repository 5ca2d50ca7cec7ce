"""What a session decides: the machine (seven classes, listed in `machine.py`), its phases and its verbs. Pure."""
