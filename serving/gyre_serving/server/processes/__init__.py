"""User code in processes of its own: what hangs, crashes or eats memory there never takes the server with it.

`template` imports the libraries once and forks; `worker` loads the version and answers; `pool` is the server's side,
which cuts workers at the deadline and replaces those that ended. They speak in `frames` over socket pairs.
"""
