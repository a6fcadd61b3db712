"""The store in a bucket: what its requests are, and what only a network store can get wrong."""

from storage.stores import open_store


def test_an_object_goes_to_the_server_and_comes_back(moto_lake: str) -> None:
    store = open_store(moto_lake)

    assert store.create("a/x", b"data")
    assert store.get("a/x") == b"data"
