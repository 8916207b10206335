"""The payload log: sampled predictions and returned labels as Parquet parts in the object store."""
