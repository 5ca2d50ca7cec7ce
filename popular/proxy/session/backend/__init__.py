"""A backend as sessions meet it: what is known of it, its queue, the connection, the login, the mail check."""
