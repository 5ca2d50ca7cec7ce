"""The authentication modules: who is this user, may he in, and where is his mail?

Read `contract.py` first (what a module is), then `loader.py` (how it comes in), `chain.py` (in which order several are
asked; `steps.py`: what is put to one of them; `decision.py`: what it comes to) and one module: `libpdm_any.py`.
`passwords.py` knows the stored forms of passwords, `linefile.py` the files with one entry a line, which
`libpdm_passwd.py` and `libpdm_master.py` read. `ptestpdm.py` tries modules out without a proxy.
"""
