"""Mailboxes on disk, in the Maildir format.

cleaning  what is older than it may be
folders   reaches directories below the mail root, and nowhere else
listing   a listing out of the files
maildir   a mailbox: `new`, `cur`, `tmp`
renamed   where messages are that a mail reader has renamed
wiresize  how many octets a file has on the wire
"""
