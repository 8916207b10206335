"""What the TrainingJob controller costs, beside a naive kopf operator and a plain client."""
