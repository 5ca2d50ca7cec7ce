"""`pproxy`: virtual servers, backends, and the session between a mail program and a storage server."""
