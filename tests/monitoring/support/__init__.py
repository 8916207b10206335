"""What the monitoring tests share."""
