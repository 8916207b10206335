"""The page for people: one file, no script, no network; it opens in an instant and prints well."""

from gyre_monitoring.page.document import page

__all__ = ["page"]
