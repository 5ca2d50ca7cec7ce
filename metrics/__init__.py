"""Watches: reads the session table, never writes it, and shows it."""
