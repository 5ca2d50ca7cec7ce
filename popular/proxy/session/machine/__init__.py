"""What a session decides: the machine, seven classes one on another (`machine.py`), its phases and its verbs. Pure."""
