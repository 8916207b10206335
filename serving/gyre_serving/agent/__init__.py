"""`gyre-serving agent`: loads the version into the Triton beside it and proves that it answers."""
