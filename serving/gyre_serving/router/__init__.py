"""The router: one stable URL per InferenceService, versions behind it, every request counted."""
