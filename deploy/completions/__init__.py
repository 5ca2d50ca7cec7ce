"""Completions of the programs' options for bash, zsh and fish, made from the parsers that read the options.

`make man` writes them. Pure but for `__main__.py`: `completions()` gives file names and texts.
"""
