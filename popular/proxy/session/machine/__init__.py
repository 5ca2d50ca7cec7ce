"""What a session decides: the machine, seven classes (listed in `machine.py`), its phases and its verbs. Pure.

authentication  what a client has shown, as a question for the modules
authorization   greeting, lines, USER, PASS
backend_side    mail check, connection and login at the backend
client_side     PROXY header, TLS, CAPA, the simulated mailbox
endings         why a session is over
exchanges       AUTH and APOP
failed_logins   who says no, to the client and to log and counters
holds           why a client is held back, each as what goes on after it
machine         the machine's last class: where a user goes whom the modules let in
machine_state   its first: fields, phase and end
offers          by what a client may log in
phases          the phases, and which may follow which
proving         SCRAM
surroundings    what the machine may ask
typedrules      where a config's rules lie in C
verbs           what the machine tells its session to do
"""
