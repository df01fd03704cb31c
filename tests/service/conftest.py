from collections.abc import AsyncIterator

import pytest

from tests.service.harness import Service, running_service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Its engine steps as fast as it can."""
    async with running_service() as service:
        yield service


@pytest.fixture
async def gated() -> AsyncIterator[Service]:
    """Its engine makes a step only when the test allows one."""
    async with running_service(gated=True) as service:
        yield service
