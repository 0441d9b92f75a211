import io
import os
import random
import tarfile

import pytest
from PIL import Image

from conceptprobe.images import SourceError, UnreadableImageError, load_images
from conceptprobe.images.shards import expand_braces, find_shards


@pytest.fixture
def write_shard():
    def write(path, members, kind=tarfile.PAX_FORMAT, mode="w"):
        with tarfile.open(path, mode, format=kind) as tar:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def png(encode):
    return lambda i: encode(Image.new("RGB", (4, 3), (i, 255 - i, 7)), "PNG")


def test_keys_end_at_the_first_dot_after_the_last_slash(tmp_path, write_shard, png):
    write_shard(
        tmp_path / "a.tar",
        {
            "v1.0/dog.jpg": png(1),
            "./cat.PNG": png(2),
            "cat.seg.png": png(3),  # another field of the sample, not its image
            "cat.npy": b"...",
            "v1.0/.hidden.png": png(4),
            "README": b"about",
        },
    )
    source = load_images(f"wds:{tmp_path / 'a.tar'}")
    assert source.table.to_pydict() == {"id": ["cat", "v1.0/dog"]}
    assert [source.reader.read(row) for row in range(2)] == [png(2), png(1)]


def test_sidecars(tmp_path, write_shard, png):
    members = {
        "a.png": png(0),
        "a.cls": b" 7\n",
        "a.txt": "ein Schädel\n".encode(),
        "b.json": b'{"label": 3, "caption": "two", "tags": ["dead", "music"], "width": 4}',
        "b.png": png(1),
        "c.json": b"{broken",
        "c.png": png(2),
        "d.png": png(3),
        "d.json": b'{"tags": "x|y"}',
    }
    source = load_images(f"wds:{write_shard(tmp_path / 'a.tar', members)}")
    assert source.table.to_pydict() == {
        "id": ["a", "b", "c", "d"],
        "label": ["7", "3", None, None],
        "caption": ["ein Schädel", "two", None, None],
        "tags": [[], ["dead", "music"], [], ["x", "y"]],
    }


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_images_are_read_in_place(tmp_path, write_shard, png, kind):
    long = "folder/" * 18 + "skull" if kind == tarfile.USTAR_FORMAT else "folder/" * 60 + "s" * 200
    members = {f"{long}.png": png(1), **{f"{i:04}.png": png(i) + bytes(i) for i in range(200)}}
    source = load_images(f"wds:{write_shard(tmp_path / 'a.tar', members, kind)}")
    assert len(source) == 201
    for row, key in enumerate(source.table["id"].to_pylist()):
        assert source.reader.read(row) == members[f"{key}.png"]


def test_order_of_members_and_shards_does_not_matter(tmp_path, write_shard, png):
    members = {
        f"{i:03}.{ending}": png(i) if ending == "png" else b"%d" % i for i in range(40) for ending in ("png", "cls")
    }
    write_shard(tmp_path / "all.tar", members)
    reference = load_images(f"wds:{tmp_path / 'all.tar'}")
    names = list(members)
    for seed in range(4):
        random.Random(seed).shuffle(names)
        folder = tmp_path / str(seed)
        folder.mkdir()
        keys = {name: int(name[:3]) % 3 for name in names}
        for shard in range(3):
            write_shard(folder / f"{shard}.tar", {name: members[name] for name in names if keys[name] == shard})
        source = load_images(f"wds:{folder}/{{2,0,1}}.tar")
        assert source.table.equals(reference.table)
        assert source.fingerprint == reference.fingerprint
        assert [source.reader.read(i) for i in range(40)] == [reference.reader.read(i) for i in range(40)]


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("a.tar", ["a.tar"]),
        ("a{08..11}.tar", ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{train,val}-{0..1}", ["train-0", "train-1", "val-0", "val-1"]),
        ("x{a,b{1,2}}", ["xa", "xb1", "xa", "xb2"]),
        ("{a}", ["{a}"]),
        ("{,old-}a", ["a", "old-a"]),
    ],
)
def test_braces(pattern, expanded):
    assert expand_braces(pattern) == expanded


def test_globs_and_overlaps(tmp_path):
    for name in ("a-0.tar", "a-1.tar", "deep/b.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_shards(f"{tmp_path}/a-*.tar") == find_shards(f"{tmp_path}/{{a-0,a-?}}.tar")
    assert len(find_shards(f"{tmp_path}/**/*.tar")) == 3


def test_relative_patterns(tmp_path, write_shard, png, monkeypatch):
    write_shard(tmp_path / "a.tar", {"x.png": png(0)})
    monkeypatch.chdir(tmp_path)
    source = load_images("wds:a.tar")
    monkeypatch.chdir("/")
    assert source.load(0).image.size == (4, 3)


def test_missing_shards_are_named(tmp_path, write_shard, png):
    write_shard(tmp_path / "s-00.tar", {"a.png": png(0)})
    with pytest.raises(SourceError, match=r"s-01\.tar.*s-02\.tar.*2 missing, 1 found"):
        load_images(f"wds:{tmp_path}/s-{{00..02}}.tar")
    with pytest.raises(SourceError, match="nothing matches"):
        load_images(f"wds:{tmp_path}/*.zip")


@pytest.mark.parametrize("pattern", ["https://host/a.tar", "s3://bucket/{0..9}.tar", "pipe:cat a.tar"])
def test_remote_shards(pattern):
    with pytest.raises(SourceError, match="not local"):
        load_images(f"wds:{pattern}")


def test_compressed_shard(tmp_path, write_shard, png):
    write_shard(tmp_path / "a.tar.gz", {"a.png": png(0)}, mode="w:gz")
    with pytest.raises(SourceError, match=r"compressed.*unpack it to \.tar"):
        load_images(f"wds:{tmp_path}/*")


def test_damaged_shards(tmp_path, write_shard, png):
    path = write_shard(tmp_path / "a.tar", {f"{i}.png": png(i) for i in range(20)})
    whole = path.read_bytes()
    noise = bytes(range(256)) * 2
    damaged = [
        whole[:5200],  # inside a header
        whole[:5650],  # inside an image
        whole[:5120],  # between two members
        whole[:5120] + noise + whole[5632:],  # a header overwritten
        whole + whole,  # a second archive behind the end of the first
        b"not a tar at all" * 100,
        b"",
    ]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(SourceError, match="not a complete tar file"):
            load_images(f"wds:{path}")
    path.write_bytes(whole)
    assert len(load_images(f"wds:{path}")) == 20


def test_shard_without_images(tmp_path, write_shard):
    with pytest.raises(SourceError, match=r"no image in 1 shards.*KEY\.jpg"):
        load_images(f"wds:{write_shard(tmp_path / 'a.tar', {'a.txt': b'x'})}")


def test_keys_repeated_across_shards(tmp_path, write_shard, png):
    for shard in "ab":
        write_shard(tmp_path / f"{shard}.tar", {f"{i}.png": png(i) for i in range(9)})
    with pytest.raises(SourceError, match=r"9 rows repeat .*'0', '1'"):
        load_images(f"wds:{tmp_path}/*.tar")


def test_bad_images_and_a_vanished_shard(tmp_path, write_shard, png):
    path = write_shard(tmp_path / "a.tar", {"a.png": b"", "b.png": png(0)[:50], "c.png": png(1)})
    source = load_images(f"wds:{path}")
    for row, reason in ((0, "empty file"), (1, "truncated")):
        with pytest.raises(UnreadableImageError, match=reason):
            source.load(row)
    assert source.load(2).image.getpixel((0, 0)) == (1, 254, 7)
    os.unlink(path)
    with pytest.raises(UnreadableImageError, match="file is missing"):
        source.load(2)


def test_text_that_is_no_unicode(tmp_path, write_shard, png):
    write_shard(tmp_path / "a.tar", {"b.png": png(1), "b.json": b'{"caption": "half \\ud83d", "tags": ["\\ud83d"]}'})
    with tarfile.open(tmp_path / "a.tar", "a", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        member = tarfile.TarInfo("caf\xe9.png")
        member.size = len(png(2))
        tar.addfile(member, io.BytesIO(png(2)))
    source = load_images(f"wds:{tmp_path / 'a.tar'}")
    assert source.table.to_pydict() == {"id": ["b", "caf\\xe9"], "caption": ["half ?", None], "tags": [["?"], []]}
    assert source.read(1) == png(2)
