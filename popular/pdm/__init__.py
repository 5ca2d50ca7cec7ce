"""The authentication modules: who is this user, may he in, and where is his mail?

    answercache        what modules have answered, kept for a while
    arguments          what modules have in common when they are opened
    breaker            not asking a module for a while that has failed
    cafile             the authorities that a module believes in TLS
    cdb                the constant database
    cdbchange          leads one user of such a database elsewhere
    chain              asks the modules in their order, and says what came of it
    conformance        what every module must stand
    contract           what a module is: read this first
    decision           what came of asking all modules
    decoys             what is spent on a name that is not there
    dovecotconnection  one connection to Dovecot's authentication server
    dovecotwire        the lines of its protocol
    errorkinds         what went wrong with a server, in words that quote nothing of it
    guarded            a module with cache, breaker, deadline and threads in front of it
    httpclient         how modules speak HTTP
    jwtkeys            the public keys of an identity provider
    keptsocket         the options of a connection that is kept, and may vanish
    ldapconnection     a connection to a directory, made and in TLS within a bound time
    libpdm_any         knows everyone: the shortest module
    libpdm_cdb         users in a constant database
    libpdm_dovecot     asks Dovecot
    libpdm_http        asks a server as nginx does
    libpdm_ldap        users in a directory
    libpdm_master      master passwords
    libpdm_oauth2      tokens of an identity provider
    libpdm_pam         users of PAM
    libpdm_passwd      users in a text file
    libpdm_redis       users in Redis
    libpdm_sql         users in an SQL database
    linefile           files with one entry a line
    loader             how a module comes in
    mysql              how MySQL is asked
    passwords          the stored forms of passwords
    pcdb               the program that makes a constant database
    postgresql         how PostgreSQL is asked
    postgresqlpool     its pool
    proving            whether what a client has shown fits what is stored
    ptestpdm           the program that tries modules out
    record             a user as a database has him
    redisclient        how a server of Redis is reached
    scramstored        stored keys of SCRAM
    secret             a password in memory
    servers            servers that a module may name and nobody has configured
    shadow             a module on trial
    sqlengines         how an SQL database is asked, and SQLite
    sqlquery           the operator's query
    steps              what is put to one of them, and what it may answer
    target             TARGET with placeholders
    threads            the threads of one blocking module
    tokens             tokens, judged
    unopened           a module that could not be opened
    usercdb            the users of the module `cdb`
    userfile           the users of the module `passwd`
    userlist           lets in the users of a list
    where              where a module is asked: at once, in threads, on the loop

Contracts: `WaitEvents` (threads) is kept by whoever keeps `GuardEvents` (guarded); `AsyncEngine` (sqlengines) by
postgresql and mysql; `UserSource` (userlist) by `Users` (userfile) and `UserCdb` (usercdb).
"""
