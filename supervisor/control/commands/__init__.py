"""The commands that every program has, and the tables of which others are made. Pure.

commands        the commands that every program has
difference      the config as an rc file, and what differs between two
draft           the commands about whole configurations
generations     those about what still serves sessions
helping         commands about commands: help, json, complete
history         those about the configurations that were in force
manual          manual pages, made from the tables
thing_commands  the commands about them (`vserv conf …`, `backend conf …`)
things          named things with parameters, as tables
variables       rows of `show` and `set`
"""
