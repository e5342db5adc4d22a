"""The sandbox: a child process that may run code nobody here trusts, such as a pickle or a user's Python model.

The child shuts itself in before it reads anything foreign: it sees its own interpreter and what the policy names, and nothing
else of the file system; it can open no socket, start no process and signal nobody; memory, time and files are limited. What the
kernel must give for that is asked first (`missing`), and without it nothing is opened, unless the user says so in so many words.

    outside   what a parent calls: start a child, talk with it within limits
    inside    where the child begins: shuts itself in, then runs its work
    policy, landlock, seccomp, namespaces, imports: the parts

Everything that runs inside is plain standard library: it must start in the environment of any model.
"""
