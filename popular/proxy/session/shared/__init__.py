"""What the sessions of one worker share: how they are served (`runtime.py`), the modules they ask (`module_chain.py`),
and what is remembered and told of their logins.
"""
