"""The router of a namespace: its routing table, made of all InferenceServices, and its pods."""
