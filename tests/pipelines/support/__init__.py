"""What the tests of the pipelines share."""
