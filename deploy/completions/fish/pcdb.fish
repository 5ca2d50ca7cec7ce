complete -c pcdb -s h -l help -d 'show this help message and exit'
complete -c pcdb -l version -d 'show the version and exit'
complete -c pcdb -s s -l strict -d 'make nothing if a line is bad (default: bad lines are skipped)'
complete -c pcdb -s q -l quiet -d 'do not say how many users there are'
