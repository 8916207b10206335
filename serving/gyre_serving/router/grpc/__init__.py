"""gRPC V2 (`inference.GRPCInferenceService`) beside REST: the same table, the same steps, the same counters."""
