import pytest


@pytest.fixture(autouse=True)
def drawn_as_for_users(fine_figures):
    """Here figures are what is tested."""
