"""DriftMonitor and DriftReport: one look a window, its report, and what came of it."""
