"""Folders of model files: only safe kinds, verified on the way out, whole or not there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.commits import CommitKey
from storage.errors import BadKey, CorruptObject, ObjectMissing, RefusedFile
from storage.local_store import LocalStore
from storage.manifests import FileEntry
from storage.weights import get_folder, put_bytes, put_folder
from tests.storage.stores import DyingStore, every_file

KEY = CommitKey("sales", "policy", 0)
FILES = {"model.safetensors": b"\x08weights", "config.json": b"{}", "sub/tokenizer.json": b"[1]"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "model"


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in every_file(folder)}


def test_a_folder_comes_back_as_it_was(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    artifacts = put_folder(store, KEY, folder=folder)

    fetched = get_folder(store, artifacts, destination=tmp_path / "cache" / "one")

    assert content(fetched) == FILES
    assert every_file(tmp_path / "cache") == {f"one/{name}" for name in FILES}


def test_putting_a_folder_twice_stores_it_once(store: LocalStore, folder: Path) -> None:
    first = put_folder(store, KEY, folder=folder)
    objects = store.list("")

    assert put_folder(store, KEY, folder=folder) == first
    assert store.list("") == objects


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "a.pt", "b.pkl", "c.pth", "sub/d.ckpt", "no_ending", "e.PKL"]
)
def test_pickled_and_unknown_files_are_refused_before_anything_is_stored(
    store: LocalStore, folder: Path, name: str
) -> None:
    (folder / name).write_bytes(b"\x80\x04")

    with pytest.raises(
        RefusedFile, match=rf"'{name}' is refused.*\.safetensors.*save weights as safetensors"
    ):
        put_folder(store, KEY, folder=folder)

    assert store.list("") == []


def test_hidden_files_stay_behind(store: LocalStore, folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.pkl").write_bytes(b"1")
    (folder / ".gitattributes").write_bytes(b"1")

    assert put_folder(store, KEY, folder=folder).keys() == FILES.keys()


def test_a_missing_folder_is_named(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match=r"there is no folder .*nowhere"):
        put_folder(store, KEY, folder=tmp_path / "nowhere")


def test_the_copy_can_be_changed_without_reaching_the_lake(
    store: LocalStore, folder: Path, tmp_path: Path
) -> None:
    artifacts = put_folder(store, KEY, folder=folder)
    fetched = get_folder(store, artifacts, destination=tmp_path / "one")

    (fetched / "config.json").write_bytes(b"changed in place")

    assert content(get_folder(store, artifacts, destination=tmp_path / "two")) == FILES
    with pytest.raises(CorruptObject, match=r"remove the folder .*one and run again"):
        get_folder(store, artifacts, destination=tmp_path / "one")


def test_a_damaged_object_is_named_and_leaves_no_folder(
    store: LocalStore, folder: Path, tmp_path: Path
) -> None:
    artifacts = put_folder(store, KEY, folder=folder)
    store.path(artifacts["model.safetensors"].key).write_bytes(b"\x08weighty")

    with pytest.raises(CorruptObject, match=rf"{artifacts['model.safetensors'].key}.*expected sha256"):
        get_folder(store, artifacts, destination=tmp_path / "cache" / "one")

    assert every_file(tmp_path / "cache") == set()


def test_a_lost_object_is_named(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    artifacts = put_folder(store, KEY, folder=folder)
    store.path(artifacts["config.json"].key).unlink()

    with pytest.raises(ObjectMissing, match=r"config\.json"):
        get_folder(store, artifacts, destination=tmp_path / "one")


def test_many_may_fetch_at_once(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    artifacts = put_folder(store, KEY, folder=folder)
    places = [tmp_path / "cache" / "one"] * 8

    with ThreadPoolExecutor(8) as pool:
        fetched = list(
            pool.map(lambda place: content(get_folder(store, artifacts, destination=place)), places)
        )

    assert fetched == [FILES] * 8
    assert every_file(tmp_path / "cache") == {f"one/{name}" for name in FILES}


def test_another_store_gives_the_same_folder(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    far = DyingStore(store, dies_at=-1, after=False)

    artifacts = put_folder(far, KEY, folder=folder)

    assert content(get_folder(far, artifacts, destination=tmp_path / "one")) == FILES


def test_a_name_that_leaves_the_folder_is_refused(store: LocalStore, tmp_path: Path) -> None:
    entry = put_bytes(store, KEY, name="a.json", data=b"{}")
    escaping = {"../outside.json": FileEntry(entry.table, entry.key, entry.sha256, 2, 0, entry.sha256)}

    with pytest.raises(BadKey):
        get_folder(store, escaping, destination=tmp_path / "one")
    with pytest.raises(BadKey):
        put_bytes(store, KEY, name="../a.json", data=b"{}")
