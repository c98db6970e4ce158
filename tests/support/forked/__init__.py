"""Python processes that begin with torch, transformers and TRL imported: forks of one server.

`start` stands where `subprocess` starts a process and says which ones may be forks; `server` forks
them; `process` makes a fork what a new process would be. A fork has the parent, session, handles,
limits, signals, variables and words of a process that the kernel started, and ends as that.
"""
