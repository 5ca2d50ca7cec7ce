"""The version, once: the package is built with it, and every command tells it."""

VERSION = "2.0.0.dev0"
