"""What all programs stand on: loop, signals, log, files, rights, forking. Knows no other room but the table."""
