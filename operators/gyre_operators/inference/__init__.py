"""InferenceService: revisions, their rollout under evidence, and what runs for them."""
