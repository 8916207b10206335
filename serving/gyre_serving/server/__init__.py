"""`gyre-serving serve`: the built-in model server, one version over the Open Inference Protocol (V2 REST)."""
