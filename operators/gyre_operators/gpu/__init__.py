"""From a need for GPU memory to a resource that the cluster's nodes have."""
