"""The image that tests of it share."""

from collections.abc import Iterator

import pytest
from conftest import Trained
from containers import TAG, Platform, build, engine


@pytest.fixture(scope="session")
def platform(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The image of the trained models, built once; all its containers end with the session."""
    found = engine()
    build(trained, tmp_path_factory.mktemp("image"), TAG)
    made = Platform(found, TAG)
    yield made
    made.close()
