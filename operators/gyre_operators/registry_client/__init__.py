"""MLflow's model registry over REST: registration exactly once, tags and aliases."""
