"""private=True takes private addresses, private=False public ones, None both."""

import pytest
from validators import ipv4

PRIVATE = ["10.1.2.3", "192.168.0.1", "172.16.4.4"]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34"]


@pytest.mark.parametrize("address", PRIVATE + PUBLIC)
def test_any(address):
    assert ipv4(address) is True


@pytest.mark.parametrize("address", PRIVATE)
def test_private_only(address):
    assert ipv4(address, private=True) is True
    assert ipv4(address, private=False) is not True


@pytest.mark.parametrize("address", PUBLIC)
def test_public_is_not_private(address):
    assert ipv4(address, private=True) is not True


@pytest.mark.parametrize("address", PUBLIC)
def test_public_only(address):
    assert ipv4(address, private=False) is True
