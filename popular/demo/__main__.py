"""`python -m popular.demo`: the command."""

import sys

from popular.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
