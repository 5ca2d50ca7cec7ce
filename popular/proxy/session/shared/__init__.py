"""What the sessions of one worker share: how they are served (`runtime.py`), the modules they ask (`module_chain.py`),
and what is remembered and told of their logins.

    absorber            remembers who has no mail
    cluster_order_sync  the orders of a cluster, brought together with those here
    last_login_writer   who has logged in, gathered for a second
    module_chain        asks the modules: at once, in a thread, or on the event loop
    module_events       hears of the modules what is no answer
    news                what the proxies of a cluster tell each other
    question_queue      the questions to modules that take long to compute
    reports             whom a stricter config would concern
    runtime             all that the sessions of a virtual server need under one config
"""
