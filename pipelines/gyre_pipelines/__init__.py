"""What runs in Gyre's training and gate pods: prepare, the wrapper, publish, verify, gate, adopt."""
