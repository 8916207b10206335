"""TrainingJob: attempts as Indexed Jobs, told apart failures, and the ModelVersion at the end."""
