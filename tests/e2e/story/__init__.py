"""The demo's story, told as it happens; the end-to-end test tells a shortened one."""
