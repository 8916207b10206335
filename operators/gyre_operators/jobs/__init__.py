"""What every controller that runs Jobs shares: projections, pending pods in words, task Jobs."""
