"""A backend as sessions meet it: what is known of it, whom it admits, the connection, the login, the mail check."""
