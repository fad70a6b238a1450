"""Archives and images that are made to take memory, time or other people's files: packed for real, with a limit."""

import gzip
import io
import json
import lzma
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_archives import tar_of
from test_sources import BATCHES, cifar_archive, cifar_batch, declare, jpeg, pickled

from alexnet.archives.sources import open_source
from alexnet.errors import UserError
from alexnet.images.decode import Undecodable, decode, square_of

MOST = 1_000_000_000  # bytes of memory that a call may have, torch and numba left aside: it does not load them


def packing(source, archives, out, *more):
    """(exit status, standard error, megabytes at most) of `python -m alexnet pack` with two workers."""
    code = (
        "import re, resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({8 * MOST}, {8 * MOST}))\n"  # a guard for this machine
        "from alexnet.__main__ import main\n"
        "status = main(sys.argv[1:])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "sys.exit(status)\n"
    )
    words = ["pack", "--source", source, "--archives", str(archives), "--out", str(out), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--image-size", "24", "--stand-ins", *more],
        capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr, int(done.stdout.split()[-1]) / 1000


def good(split="train", wnid="a", count=1):
    return {f"{split}/{wnid}/good{i}.jpg": jpeg(i) for i in range(count)}


def overlapping(folder):
    """200 members that share the bytes of one, which unpacks to 190 MB."""
    path = folder / "any.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/000.jpg", bytes(190_000_000))
    data = path.read_bytes()
    at = data.index(b"PK\1\2")
    entry, end = data[at : data.index(b"PK\5\6")], bytearray(data[data.index(b"PK\5\6") :])
    entries = b"".join(entry.replace(b"000.jpg", b"%03d.jpg" % i) for i in range(200))
    end[8:16] = struct.pack("<HHI", 200, 200, len(entries))
    path.write_bytes(data[:at] + entries + end)
    assert path.stat().st_size < 300_000
    return "unpacks to 38,000,000,000 bytes"


def few_overlapping(folder):
    """As before, but five: less than is refused at once, more than is to be in memory."""
    overlapping(folder)
    data = (folder / "any.zip").read_bytes()
    at, end = data.index(b"PK\1\2"), bytearray(data[data.index(b"PK\5\6") :])
    size = (data.index(b"PK\5\6") - at) // 200
    end[8:16] = struct.pack("<HHI", 5, 5, 5 * size)
    (folder / "any.zip").write_bytes(data[: at + 5 * size] + end)
    return "5 images cannot be decoded|cannot be read"


def large_directory(folder):
    with zipfile.ZipFile(folder / "any.zip", "w") as archive:
        archive.writestr("train/a/1.jpg", b"x")
    data = bytearray((folder / "any.zip").read_bytes())
    at = data.index(b"PK\5\6")
    data[at + 12 : at + 16] = struct.pack("<I", 3_000_000_000)
    (folder / "any.zip").write_bytes(data)
    return "lists its members in 3,000,000,000 bytes"


def gigabytes(folder):
    """A gzip file that unpacks to 3 GB: the same block, which refers to nothing before it, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    begin = packer.compress(b"train/a/1.jpg".ljust(512, b"\0")) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    (folder / "any.tgz").write_bytes(begin + 300 * block)
    assert (folder / "any.tgz").stat().st_size < 10_000_000
    return "unpacks to more than 1,000,000,000 bytes"


def many_large(folder):
    """What is under the ceiling in all: four members of 150 MB."""
    header = tarfile.TarInfo("train/a/1.jpg")
    header.size = 150_000_000
    with gzip.open(folder / "any.tgz", "wb", 1) as file:
        for i in range(4):
            header.name = f"train/a/{i}.jpg"
            file.write(header.tobuf())
            for _ in range(15):
                file.write(bytes(10_000_000))
            file.write(bytes(-150_000_000 % 512))
        file.write(bytes(1024))
    return "4 images cannot be decoded"


def xz_with_a_large_dictionary(folder):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    with lzma.open(folder / "any.tar", "w", filters=filters) as file:
        file.write(tar_of(good()))
    return "cannot be read to its end .Memory usage limit"


def long_name(folder):
    """A header of type "long name" with 3 GB, which is a hole in the file."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3_000_000_000
    with open(folder / "any.tar", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(3_000_000_512 + 10_240)
    return "cannot be read to its end .a header of 3,000,000,000 bytes"


def size_below_zero(folder):
    """A member whose attributes set its size to -1024: the next header is this one again."""
    info = tarfile.TarInfo("train/a/1.jpg")
    info.pax_headers = {"size": "-1024"}
    (folder / "any.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    return "cannot be read to its end"


def sparse_map(folder):
    """A sparse file whose map of extents goes on and on."""
    header = bytearray(tarfile.TarInfo("train/a/1.jpg").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[482:483] = tarfile.GNUTYPE_SPARSE, b"\1"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = b"00000000001\0" * 42 + b"\1" + bytes(7)
    (folder / "any.tar").write_bytes(header + block * 100_000)
    return "is a sparse file"


def nested_headers(folder):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3
    (folder / "any.tar").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"abc".ljust(512, b"\0")) * 5000)
    return "cannot be read to its end"


def hole(folder):
    """A file of 20 GB that takes no room."""
    (folder / "train/a").mkdir(parents=True)
    with open(folder / "train/a/1.jpg", "wb") as file:
        file.truncate(20_000_000_000)
    return "1.jpg has 20,000,000,000 bytes, more than the 200,000,000 of an image"


def links_out(target):
    def make(folder):
        (folder / "train/a").mkdir(parents=True)
        (folder / "train/a/good.jpg").write_bytes(jpeg(1))
        (folder.parent / "private.jpg").write_bytes(jpeg(2))
        (folder / "train/a/1.jpg").symlink_to(target)
        return "1.jpg is a link that leads (out of its folder, to|nowhere)"

    return make


def link_of_a_class(folder):
    (folder.parent / "private").mkdir()
    (folder.parent / "private/1.jpg").write_bytes(jpeg(1))
    (folder / "train").mkdir()
    (folder / "train/a").symlink_to(folder.parent / "private")
    return "train/a is a link that leads out of its folder"


def class_that_is_nowhere(folder):
    (folder / "train/a").mkdir(parents=True)
    (folder / "train/a/1.jpg").write_bytes(jpeg(1))
    (folder / "train/b").symlink_to(folder / "unmounted")
    return "train/b is a link that leads nowhere"


def pipe_among_images(folder):
    (folder / "train/a").mkdir(parents=True)
    os.mkfifo(folder / "train/a/1.jpg")
    return "1.jpg is a pipe or a device, not an image"


FOLDERS = {
    "overlapping members of a zip": overlapping,
    "few overlapping members": few_overlapping,
    "a large list in a zip": large_directory,
    "3 GB in a gz": gigabytes,
    "large members": many_large,
    "a large dictionary": xz_with_a_large_dictionary,
    "a long name": long_name,
    "a size below zero": size_below_zero,
    "a sparse map": sparse_map,
    "nested headers": nested_headers,
    "a hole": hole,
    "a link to an image": links_out("../../../private.jpg"),
    "a link to a device": links_out("/dev/zero"),
    "a link to nowhere": links_out("nothing.jpg"),
    "a link to a folder": link_of_a_class,
    "a class that is nowhere": class_that_is_nowhere,
    "a pipe": pipe_among_images,
}


@pytest.mark.parametrize("make", FOLDERS.values(), ids=FOLDERS)
def test_hostile_archives_take_little_memory_and_end_in_a_sentence(make, tmp_path):
    archives = tmp_path / "archives"
    archives.mkdir()
    words = make(archives)
    status, told, megabytes = packing("folders", archives, tmp_path / "out")
    assert status == 2 and megabytes < MOST / 1e6, (told, megabytes)
    last = told.splitlines()[-1]
    assert last.startswith("error: ") and re.search(words, last), told
    assert not (tmp_path / "out/manifest.json").exists()


MEMO = b"\x80\2r\xff\xff\xff\x1f."  # remembers something under number 536,870,911
GROWING = b"\x80\2c_codecs\nencode\nq\0X" + struct.pack("<I", 9_000_000) + b"x" * 9_000_000 + (
    b"q\1]" + b"h\0h\1X\6\0\0\0latin1\x86Ra" * 1000 + b"."
)  # fmt: skip


@pytest.mark.parametrize("data", [MEMO, b"\x80\2}" + MEMO[2:], GROWING, b"\x80\4\x8e" + b"\xff" * 7 + b"\0."])
@pytest.mark.parametrize("name", ["batches.meta", "data_batch_1"])
def test_hostile_pickles_take_little_memory_and_end_in_a_sentence(tmp_path, name, data):
    archives = tmp_path / "archives"
    archives.mkdir()
    batches = {batch: pickled(cifar_batch(i)) for i, batch in enumerate(BATCHES)}
    if name == "batches.meta":
        cifar_archive(archives / "cifar-10-python.tar.gz", batches, data)
    else:
        cifar_archive(archives / "cifar-10-python.tar.gz", batches | {name: data})
    status, told, megabytes = packing("cifar10", archives, tmp_path / "out")
    assert status == 2 and megabytes < MOST / 1e6, (told, megabytes)
    assert f"cifar-10-python.tar.gz/{name} cannot be read" in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ilsvrc2012", "ILSVRC2012_devkit_t12.tar.gz"),
        ("ilsvrc2012", "ILSVRC2012_img_val.tar"),
        ("ilsvrc2012", "LOC_synset_mapping.txt"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("imagenette", "imagenette2-320.tgz"),
        ("tiny_imagenet", "tiny-imagenet-200.zip"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--plan"]])
def test_a_pipe_under_an_official_name_does_not_hang(tmp_path, source, name, more):
    os.mkfifo(tmp_path / name)
    if "img_val" in name or "devkit" in name:
        for other in ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_val.tar", "ILSVRC2012_img_train.tar"):
            if other != name:
                (tmp_path / other).write_bytes(tar_of({}))
    if name.startswith("LOC"):
        (tmp_path / "LOC_val_solution.csv").touch()
        for split in ("train", "val"):
            (tmp_path / "ILSVRC/Data/CLS-LOC" / split).mkdir(parents=True)
    status, told, _ = packing(source, tmp_path, tmp_path / "out", *more)
    assert status == 2 and f"{name} is neither a file nor a folder" in told


def png(width, height, colour=0, depth=1, rows=None):
    """A PNG of zeros, written chunk by chunk."""
    line = 1 + (width * depth * {0: 1, 2: 3}[colour] + 7) // 8
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(line)) for _ in range(height if rows is None else rows)) + packer.flush()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(90_000_000, 1), (1, 90_000_000), (65_536, 1)])
def test_an_image_with_an_absurd_side_is_undecodable_and_no_more(tmp_path, shape):
    data = png(*shape) if shape[1] == 1 else png(*shape, rows=0)
    with pytest.raises(Undecodable, match=f"{shape[0]} x {shape[1]} pixels"):
        square_of(data, 24)
    archives = tmp_path / "archives"
    (archives / "train/a").mkdir(parents=True)
    for name, content in (good(count=40) | {"train/a/bad.png": data}).items():
        (archives / name).write_bytes(content)
    status, told, megabytes = packing("folders", archives, tmp_path / "out", "--allow-undecodable", "1")
    assert status == 0 and megabytes < MOST / 1e6, told
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["splits"]["train"]["images"] == 40
    assert [item["name"] for item in manifest["undecodable"]] == ["bad.png"]


def test_a_long_strip_is_packed():
    """What is just within the limits, against Pillow on the part that the square shows."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 65_535, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    middle = Image.fromarray(pixels[:, 32_760:32_775]).resize((15 * 12, 24), Image.Resampling.BICUBIC)
    square = square_of(buffer.getvalue(), 24).pixels.astype(int)
    difference = np.abs(square - np.asarray(middle)[:, 78:102]).max()
    assert square.shape == (24, 24, 3) and difference <= 90  # half a pixel of the source is six of the target


def test_large_images_are_handled_one_at_a_time(tmp_path):
    """Two images of 90 million pixels, one for each worker: at once they would take more than the limit."""
    archives = tmp_path / "archives"
    (archives / "train/a").mkdir(parents=True)
    large, small = png(9_000, 10_000, colour=2, depth=8), jpeg(1)
    for i in range(64):
        (archives / f"train/a/{i:02d}.png").write_bytes(large if i % 32 == 0 else small)
    status, told, megabytes = packing("folders", archives, tmp_path / "out")
    assert status == 0 and megabytes < 1_300, (told, megabytes)


def test_sixteen_bits_take_no_more_than_four_bytes_a_pixel():
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    image, repairs = decode(buffer.getvalue())
    assert np.array_equal(np.asarray(image)[..., 0], values >> 8) and "16bit" in repairs


def test_links_within_the_named_folders_are_followed(tmp_path):
    (tmp_path / "heap").mkdir()
    (tmp_path / "heap/1.jpg").write_bytes(jpeg(1))
    (tmp_path / "data/train/a").mkdir(parents=True)
    (tmp_path / "data/train/a/1.jpg").symlink_to(tmp_path / "heap/1.jpg")
    with pytest.raises(UserError, match="leads out of its folder"):
        open_source("folders", [tmp_path / "data"])
    (split,) = open_source("folders", [tmp_path / "data", tmp_path / "heap"]).splits
    assert [picture.read() for picture in split.pictures()] == [jpeg(1)]


def test_a_zip_member_that_declares_less_than_it_holds_is_refused_when_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/1.jpg", bytes(150_000_000))
    declare(tmp_path / "mine.zip", "train/a/1.jpg", 100)
    status, told, megabytes = packing("folders", tmp_path, tmp_path / "out")
    assert status == 2 and "Bad CRC" in told and megabytes < MOST / 1e6
