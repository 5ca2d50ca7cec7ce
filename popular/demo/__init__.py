"""`popular-demo`: a whole small mail site in the foreground, on loopback, in a directory of its own.

command.py        the command line, and the demo from start to end
contents.py       what the site is like: users, mails, and the start configurations of its programs; pure
certificates.py   an authority of its own, and the proxy's certificate from it
directory.py      an empty directory that is taken, and left as it was
site.py           ports and programs: started, watched, ended
announcement.py   what is printed: what runs where, and what to try
"""

from popular.demo.command import main

__all__ = ["main"]
