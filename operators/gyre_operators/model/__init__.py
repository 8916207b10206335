"""Model: when to train, which version is champion, which versions stay."""
