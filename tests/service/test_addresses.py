import pytest
from aiohttp.test_utils import make_mocked_request

from service.api.addresses import origin
from service.errors import ApiError


def origin_for(**headers: str) -> str:
    return origin(
        make_mocked_request("GET", "/", headers={name.replace("_", "-"): text for name, text in headers.items()})
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "pictures.example", "[::1]:8443", "my_box-2.local."])
def test_a_client_is_told_the_name_that_it_used(host: str) -> None:
    assert origin_for(Host=host) == f"http://{host}"


def test_a_proxy_in_front_says_what_its_client_sees() -> None:
    seen = origin_for(Host="10.0.0.2:8000", X_Forwarded_Host="pictures.example", X_Forwarded_Proto="https")
    assert seen == "https://pictures.example"


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "a@b", "a\\b", "http://a", "a:b", "a,b", "é", "a" * 300])
def test_what_is_no_name_of_a_host_is_not_repeated(bad: str) -> None:
    assert origin_for(Host="here", X_Forwarded_Host=bad, X_Forwarded_Proto=bad) == "http://here"
    with pytest.raises(ApiError, match="send a Host header"):
        origin_for(Host=bad)
