"""What the planes exchange, written once: files, environment variables, JSON over HTTP.

A plane that writes a contract and the one that reads it both import it from here, so a change that
one side did not follow fails in that side's type check.
"""
