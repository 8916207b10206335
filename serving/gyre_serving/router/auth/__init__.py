"""Ways in which callers prove themselves: bearer tokens, Kubernetes' own tokens, client certificates."""
