"""Gyre's data plane: the router, the built-in model server, and the serving pod's tools."""
