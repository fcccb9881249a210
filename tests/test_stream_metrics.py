"""What Prometheus and the dashboard in deploy/ see of a scorer."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, free_port
from prometheus_server import Prometheus, prometheus
from stream_broker import Stream

pytest_plugins = ["stream_fixtures"]

DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/stream.json").read_text("utf-8"))


@pytest.fixture
def scraped(stream: Stream, tmp_path: Path) -> Iterator[tuple[Prometheus, Stream]]:
    """Prometheus on a scorer that has decided and refused for some seconds."""
    target = f"127.0.0.1:{free_port()}"
    # What a server on the same host exports, and has removed since.
    stream.environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "gone")
    scorer = stream.start("score", "--metrics", target)
    stream.send([{"tx_id": "first", "amount": 1}])
    stream.decisions(1)
    with prometheus(tmp_path, target, "", "paydesk-stream") as started:
        for step in range(8):  # over some scrapes, so that there are rates
            # The mark of a transaction's end is no message that waits.
            stream.send([{"tx_id": f"{step}", "amount": 5000.0}] * 3 + [b"{"], transactional=True)
            time.sleep(0.5)
        stream.decisions(25)
        time.sleep(2.5)
        yield started, stream
    assert stream.end(scorer) == 0


def test_every_panel_shows_something(scraped: tuple[Prometheus, Stream]) -> None:
    started, stream = scraped
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for variable in ("$__rate_interval", "$__range"):
                query = query.replace(variable, "30s")
            assert "$" not in query
            result = started.ask(query)
            assert result, f"{panel['title']}: {query}"
            assert not any(point["value"][1] == "NaN" for point in result), query

    def value(query: str) -> float:
        return float(started.ask(query)[0]["value"][1])

    assert value('paydesk_stream_decisions_total{level="HIGH"}') == 24
    assert value('paydesk_stream_dead_letters_total{kind="not_json"}') == 8
    assert value("sum(paydesk_stream_event_to_alert_seconds_count)") == 24
    assert value("sum(paydesk_stream_lag_messages)") == 0
    lags = started.ask(f'paydesk_stream_lag_messages{{topic="{stream.topic("transactions")}"}}')
    assert len(lags) == 4
