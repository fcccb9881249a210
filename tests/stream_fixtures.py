"""The fixtures of the tests of streams: a broker, and topics on it."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Trained, free_port
from log_search import remember_home
from stream_broker import Stream, jars_of

from deploy.broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the whole session; tests use topics of their own."""
    home = tmp_path_factory.mktemp("broker")
    started = Broker(home, jars_of("kafka"), free_port(), free_port())
    started.start()
    yield started
    started.stop()


@pytest.fixture
def stream(broker: Broker, trained: Trained, tmp_path: Path) -> Iterator[Stream]:
    """Topics, a group and a database of the test's own."""
    prefix = f"{uuid.uuid4().hex[:8]}."
    environment = {
        **trained.environment,
        "PAYDESK_HOME": str(tmp_path),
        "PAYDESK_BROKERS": broker.address,
        "PAYDESK_STREAM_PREFIX": prefix,
        "COLUMNS": "200",
    }
    remember_home(tmp_path)
    started = Stream(broker, tmp_path, environment, prefix)
    yield started
    started.close()
