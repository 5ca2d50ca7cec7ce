"""What a session decides: the machine, of six classes one on another (`machine.py`), its phases and its verbs. Pure."""
