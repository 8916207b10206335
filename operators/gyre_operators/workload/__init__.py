"""Pods and Jobs, whoever runs them: how they are shaped, what is read of them, and why one waits, in words."""
