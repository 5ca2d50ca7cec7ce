"""What a session decides: the machine, seven classes, each the base class of the next (`machine.py`), its phases and its verbs. Pure."""
