"""Metrics of a stream that follows, for Prometheus to fetch: no label, one process follows one monitor's parts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, start_http_server

from gyre_monitoring.errors import InputError

# When a counter began tells nobody anything, and doubles their number.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot its annotation


class Telemetry:
    """Counters since the start of the process."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.rows = Counter("gyre_stream_rows_total", "Rows read.", registry=own)
        self.parts = Counter("gyre_stream_parts_total", "Parts read.", registry=own)
        self.unread = Counter("gyre_stream_unreadable_parts_total", "Parts that are no Parquet.", registry=own)
        self.changes = Counter("gyre_stream_changes_total", "Changes found.", registry=own)
        self.store_errors = Counter(
            "gyre_stream_store_errors_total", "Tries that the store did not answer; each is made again.", registry=own
        )
        self.last_part = Gauge(
            "gyre_stream_last_part_timestamp_seconds", "When the last part was read, 0 before the first.", registry=own
        )

    def serve(self, port: int) -> None:
        """Answer /metrics on every address of the machine.

        Raises:
            InputError: the port is taken or none.
        """
        try:
            start_http_server(port, registry=self._registry)
        except (OSError, OverflowError) as error:
            raise InputError(f"--metrics-port {port} cannot be opened: {error}") from error
