"""What every controller that runs pods shares: how pods are read, hardened, and given the store."""
