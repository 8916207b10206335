"""ModelVersion: verified bytes, exactly-once registration, gates, profile, aliases."""
