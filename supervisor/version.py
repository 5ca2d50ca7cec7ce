"""The version, once: pyproject.toml states the same, and a test compares them."""

VERSION = "2.0.0.dev0"
