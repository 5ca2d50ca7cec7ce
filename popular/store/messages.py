"""The log messages of the storage side (`pserv`'s mailboxes, `pcheckd`, `pdeliver`). A number is never reused.

Numbers below 0200 are those of POPular 1.5 and keep their meaning. What the proxy says too stands in
popular/messages.py.
"""

from supervisor.runtime.messages import EACH_MINUTE, Message, messages_in

DIR_ACCESS_FAILED = Message(
    0x0006,
    "ADM",
    "dir_access_failed",
    "A mailbox, or one of its folders, cannot be used.",
    most=EACH_MINUTE,
    by="mailbox",
)
STAT_FAILED = Message(
    0x0009, "ADM", "stat_failed", "The size of a message cannot be found out; it is not listed.", most=EACH_MINUTE
)

NOT_A_MESSAGE = Message(
    0x0400, "ADM", "not_a_message", "Something in a mailbox is not a regular file; it is not listed.", most=EACH_MINUTE
)
SAME_UID = Message(
    0x0401, "ADM", "same_uid", "Two files of one mailbox differ only in their flags; both are listed.", most=EACH_MINUTE
)
FOLDER_MISSING = Message(
    0x0402, "ADM", "folder_missing", "A mailbox lacks its folder new or cur; it counts as empty.", most=EACH_MINUTE
)
MOVE_FAILED = Message(
    0x0403, "ADM", "move_failed", "A message that was read cannot be moved from new to cur.", most=EACH_MINUTE
)
DELETE_FAILED = Message(
    0x0404, "ADM", "delete_failed", "A message that the user deleted cannot be removed.", most=EACH_MINUTE
)
BAD_REQUEST = Message(
    0x0405, "ADM", "bad_request", "pserv was not asked for a mailbox in the way that proxies do it.", most=EACH_MINUTE
)
READ_FAILED = Message(0x0406, "ADM", "read_failed", "A message cannot be read, though it is there.", most=EACH_MINUTE)
UPDATE_FAILED = Message(
    0x0407,
    "ADM",
    "update_failed",
    "A user said QUIT, and nothing in the mailbox could be removed or marked as read.",
    most=EACH_MINUTE,
)
UNTRUSTED_PEER = Message(
    0x0408, "ADM", "untrusted_peer", "Whoever is not in trusted was refused by pserv or pcheckd; once a minute at most."
)

DELIVERED = Message(0x0410, "INF", "delivered", "pdeliver put a mail into a mailbox.")
OVER_QUOTA = Message(0x0411, "ERR", "over_quota", "pdeliver refused a mail: the mailbox is full.")
NOT_DELIVERED = Message(
    0x0412, "ADM", "not_delivered", "pdeliver could not deliver a mail; the sender should try again."
)

BAD_PACKET = Message(0x0420, "ERR", "bad_packet", "pcheckd received a packet that is no question, or a forbidden name.")
CHECK_FAILED = Message(0x0421, "ADM", "check_failed", "pcheckd could not look into a mailbox, or not send an answer.")
LOAD_UNKNOWN = Message(0x0422, "ADM", "load_unknown", "pcheckd cannot read the machine's load; mailboxes are checked.")
HELPER_DIED = Message(0x0423, "ADM", "helper_died", "A forked process of pcheckd ended unexpectedly; another follows.")

STORE_MESSAGES = messages_in(globals())
