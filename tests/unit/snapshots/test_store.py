import pytest

from bandit.core.records import Position
from bandit.snapshots.manifest import DamagedSnapshot, Manifest, snapshot_id, spec_of
from bandit.snapshots.store import MODEL, SnapshotStore

SPEC = "0a1b2c3d"


def manifest_at(seq, experiment_id="front-page", spec=SPEC):
    position = Position(1_000 + seq, seq)
    return Manifest(
        snapshot_id=snapshot_id(position, spec),
        experiment_id=experiment_id,
        position=position,
        joined=seq,
        spec="{}",
        state={"events": seq, "mean": 0.1},
        summary={"outcomes": {"rewarded": seq}},
        vw_version="9.11.9",
        model_sha256="",
        parent="",
    )


def publish(store, manifest, model=b"model"):
    return store.publish(manifest, lambda folder: (folder / MODEL).write_bytes(model))


@pytest.fixture
def store(tmp_path):
    return SnapshotStore(tmp_path, keep=3)


def test_what_is_published_is_read_back(store):
    published = publish(store, manifest_at(1))
    folder, read = store.read("front-page", published.snapshot_id)
    assert read == published
    assert (folder / MODEL).read_bytes() == b"model"
    assert len(published.model_sha256) == 64


def test_a_policy_without_a_model_has_a_snapshot_without_one(store):
    published = store.publish(manifest_at(1), None)
    folder, read = store.read("front-page", published.snapshot_id)
    assert read.model_sha256 == ""
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]


def test_names_come_furthest_first_whatever_the_number_of_digits(store):
    for seq in (9, 100, 10):
        publish(store, manifest_at(seq))
    assert [int(name.split("-")[1]) for name in store.names("front-page")] == [100, 10, 9]


def test_as_many_are_kept_as_was_asked_for(store):
    for seq in range(1, 8):
        publish(store, manifest_at(seq))
    assert [int(name.split("-")[1]) for name in store.names("front-page")] == [7, 6, 5]


def test_of_another_policy_the_last_one_stays_though_it_is_further(store):
    for seq in (7, 8):
        publish(store, manifest_at(seq, spec="ffffffff"))
    for seq in range(1, 6):
        publish(store, manifest_at(seq))
    assert [(spec_of(name), int(name.split("-")[1])) for name in store.names("front-page")] == [
        ("ffffffff", 8),
        (SPEC, 5),
        (SPEC, 4),
        (SPEC, 3),
    ]


@pytest.mark.parametrize("spec", [SPEC, "ffffffff"])
def test_the_pinned_one_is_never_pruned(store, spec):
    publish(store, manifest_at(1, spec=spec))
    store.pin("front-page", snapshot_id(Position(1_001, 1), spec))
    store.pin("other", snapshot_id(Position(1_002, 2), SPEC))
    publish(store, manifest_at(2, spec=spec))
    for seq in range(3, 8):
        publish(store, manifest_at(seq))
    kept = [int(name.split("-")[1]) for name in store.names("front-page")]
    assert kept == ([7, 6, 5, 1] if spec == SPEC else [7, 6, 5, 2, 1])
    store.pin("front-page", None)
    publish(store, manifest_at(8))
    assert 1 not in [int(name.split("-")[1]) for name in store.names("front-page")]


def test_another_experiments_snapshots_are_left_alone(store):
    publish(store, manifest_at(1, "other"))
    for seq in range(1, 8):
        publish(store, manifest_at(seq))
    assert len(store.names("other")) == 1
    assert store.experiments() == ["front-page", "other"]


@pytest.mark.parametrize(
    "experiment_id",
    ["../x", "..", ".", "a/b", "/etc", "e-x", "%2e%2e", "ü" * 32, ".aside-x", "a b[c]", "/" * 64],
)
def test_no_id_leaves_the_snapshots_folder(tmp_path, experiment_id):
    store = SnapshotStore(tmp_path / "data")
    published = publish(store, manifest_at(1, experiment_id))
    folder, read = store.read(experiment_id, published.snapshot_id)
    assert read.experiment_id == experiment_id
    assert folder.resolve().parent.parent == (tmp_path / "data" / "snapshots").resolve()
    assert store.experiments() == [experiment_id]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["snapshots"]


def publish_two(store, manifest):
    """Publishes a model of two files."""

    def write(folder):
        (folder / MODEL).write_bytes(b"model")
        (folder / "linear.npy").write_bytes(b"model")

    return store.publish(manifest, write)


@pytest.mark.parametrize("file", [MODEL, "linear.npy"])
@pytest.mark.parametrize("damage", [b"modem", b"", b"model "])
def test_an_altered_model_is_refused(store, damage, file):
    name = publish_two(store, manifest_at(1)).snapshot_id
    folder, _ = store.read("front-page", name)
    (folder / file).write_bytes(damage)
    with pytest.raises(DamagedSnapshot):
        store.read("front-page", name)


@pytest.mark.parametrize("file", [MODEL, "linear.npy"])
def test_a_missing_a_renamed_or_a_further_file_is_refused(store, file):
    name = publish_two(store, manifest_at(1)).snapshot_id
    folder, _ = store.read("front-page", name)
    (folder / file).rename(folder / "other")
    with pytest.raises(DamagedSnapshot):
        store.read("front-page", name)
    (folder / file).write_bytes(b"model")
    with pytest.raises(DamagedSnapshot):
        store.read("front-page", name)
    (folder / "other").unlink()
    store.read("front-page", name)


def test_the_sum_tells_where_one_file_ends_and_the_next_begins(store):
    sums = set()
    for first, second in ((b"ab", b"c"), (b"a", b"bc"), (b"abc", b""), (b"", b"abc")):

        def write(folder, first=first, second=second):
            (folder / "1").write_bytes(first)
            (folder / "2").write_bytes(second)

        sums.add(store.publish(manifest_at(1), write).model_sha256)
    assert len(sums) == 4


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "1", '{"checksum": ""}', "\ud800", "x" * 10, "[" * 10]
)
def test_a_manifest_that_is_none_is_refused(store, text):
    name = publish(store, manifest_at(1)).snapshot_id
    folder, _ = store.read("front-page", name)
    (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DamagedSnapshot):
        store.read("front-page", name)


def test_no_byte_of_a_manifests_content_can_change_unnoticed(store):
    manifest = publish(store, manifest_at(12))
    text = manifest.to_json()
    for index, character in enumerate(text):
        other = text[:index] + ("7" if character != "7" else "8") + text[index + 1 :]
        try:
            assert Manifest.from_json(other) == manifest
            assert character.isspace()
        except DamagedSnapshot:
            pass


def test_another_experiments_manifest_is_refused(store):
    name = publish(store, manifest_at(1)).snapshot_id
    publish(store, manifest_at(1, "other"))
    mine, _ = store.read("front-page", name)
    others, _ = store.read("other", name)
    (mine / "manifest.json").write_bytes((others / "manifest.json").read_bytes())
    with pytest.raises(DamagedSnapshot, match="another"):
        store.read("front-page", name)


def test_a_snapshot_that_is_not_there_is_a_damaged_one(store):
    with pytest.raises(DamagedSnapshot):
        store.read("front-page", snapshot_id(Position(1, 1), SPEC))


def test_a_model_that_can_not_be_written_publishes_nothing(store):
    publish(store, manifest_at(1))

    def full(folder):
        (folder / MODEL).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.publish(manifest_at(2), full)
    assert len(store.names("front-page")) == 1
    publish(store, manifest_at(2))
    assert len(store.names("front-page")) == 2


def test_what_a_killed_process_left_aside_is_no_snapshot_and_is_cleared(store, tmp_path):
    publish(store, manifest_at(1))
    left = tmp_path / "snapshots" / "e-front-page" / f".aside-{snapshot_id(Position(5, 5), SPEC)}"
    left.mkdir()
    (left / MODEL).write_bytes(b"half")
    assert len(store.names("front-page")) == 1
    publish(store, manifest_at(2))
    assert not left.exists()


def test_a_discarded_snapshot_is_gone(store, tmp_path):
    name = publish(store, manifest_at(1)).snapshot_id
    store.discard("front-page", name)
    store.discard("front-page", name)
    assert store.names("front-page") == []
    assert list((tmp_path / "snapshots" / "e-front-page").iterdir()) == []


def test_the_same_position_may_be_published_again(store):
    publish(store, manifest_at(1), b"first")
    again = publish(store, manifest_at(1), b"second")
    folder, read = store.read("front-page", again.snapshot_id)
    assert read == again
    assert (folder / MODEL).read_bytes() == b"second"


def test_the_generation_changes_with_whatever_is_published(store):
    generations = [store.generation()]
    publish(store, manifest_at(1))
    generations.append(store.generation())
    publish(store, manifest_at(1, "other"))
    generations.append(store.generation())
    assert len(set(generations)) == 3


def test_a_store_without_a_folder_is_empty(store):
    assert (store.names("front-page"), store.experiments(), store.generation()) == ([], [], 0)
