"""Where the routing table and the addresses come from: a file on a laptop, Kubernetes in a cluster."""
