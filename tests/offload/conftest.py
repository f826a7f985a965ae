from __future__ import annotations

import pytest
from implementations import IMPLEMENTATIONS, Implementation


@pytest.fixture(params=IMPLEMENTATIONS, scope="session")
def offload_impl(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]
