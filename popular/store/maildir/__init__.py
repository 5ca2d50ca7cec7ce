"""Mailboxes on disk, in the Maildir format."""
