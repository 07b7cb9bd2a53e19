"""The two file formats of torch.save: where the pickle and the bytes of each storage lie in the file."""

import functools
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from jaxseg.pth.tensors import Storage, unpickle_tensors
from jaxseg.pth.unpickle import PthError, shown

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_AGAIN = "Copy or download it again."
_OTHERS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"<": "a web page: the download brought a page in place of the file",
    b"version https://git-lfs": "a Git LFS pointer: `git lfs pull` fetches the file itself",
}


class Contents(NamedTuple):
    """An opened checkpoint: the file's bytes, the pickled value, and where each storage begins."""

    data: mmap.mmap
    value: object
    big_endian: bool
    place: Callable[[Storage], int]


def open_contents(file: BinaryIO) -> Contents:
    """Recognises the format of an open file and reads its pickle; storages stay unread."""
    if not file.seek(0, 2):
        raise PthError(f"is empty (0 bytes). {_AGAIN}")
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if data[:4] == b"PK\x03\x04":
        return _open_zip(file, data)
    if data[:1] == b"\x80":
        return _open_legacy(data)
    raise PthError(
        f"is no PyTorch checkpoint but {_other(data)}. Give the file that torch.save(model.state_dict(), ...) wrote."
    )


def _other(data: mmap.mmap) -> str:
    """What a file that is no checkpoint seems to be."""
    head = data[:512]
    if head[8:10] == b'{"':
        return "a safetensors file: in PyTorch, torch.save(safetensors.torch.load_file(path), ...) converts it"
    if head[257:262] == b"ustar":
        return "a tar archive, PyTorch's format before 2017: load it in PyTorch and save it again"
    for magic, meaning in _OTHERS.items():
        if head.lstrip().startswith(magic):
            return meaning
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head):
        return f"a text, which begins with {head[:20]!r}"
    return f"a file that begins with {head[:20]!r}"


def _open_zip(file: BinaryIO, data: mmap.mmap) -> Contents:
    """The format since PyTorch 1.6: a zip archive of uncompressed records `TOP/data.pkl` and `TOP/data/KEY`."""
    records = _records(file, len(data))
    pickles = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise PthError(
            f"is a zip archive with {len(pickles)} records TOP/data.pkl, where torch.save writes one; there is "
            f"{shown(', '.join(records)) or 'nothing'}. Give the file that torch.save(model.state_dict(), ...) wrote."
        )
    top = pickles[0].removesuffix("/data.pkl")
    if f"{top}/constants.pkl" in records:
        raise PthError("is a TorchScript model: in PyTorch, torch.save(torch.jit.load(path).state_dict(), ...).")
    checksums = any(info.CRC for info in records.values())  # PyTorch can be told to leave them all 0

    @functools.cache
    def span(name: str) -> slice:
        if name not in records:
            raise PthError(f"lacks the record {shown(name)}, which its pickle asks for: the file is damaged. {_AGAIN}")
        place = _span(data, records[name])
        if checksums and zlib.crc32(memoryview(data)[place]) != records[name].CRC:
            raise PthError(f"has a record, {shown(name)}, that disagrees with its checksum: it is damaged. {_AGAIN}")
        return place

    def place(storage: Storage) -> int:
        stored = span(f"{top}/data/{storage.key}")
        if stored.stop - stored.start != storage.total * storage.dtype.itemsize:
            raise _disagreement(storage, stored.stop - stored.start)
        return stored.start

    order = data[span(f"{top}/byteorder")] if f"{top}/byteorder" in records else b"little"
    if order not in (b"little", b"big"):
        raise PthError(f"gives its byte order as {order[:20]!r}, which is neither little nor big. {_AGAIN}")
    pickle = span(pickles[0])
    return Contents(data, unpickle_tensors(data, pickle.start, pickle.stop).value, order == b"big", place)


def _records(file: BinaryIO, size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's records by name."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, ValueError, struct.error) as error:
        raise PthError(f"is a zip archive that is cut short or damaged ({size:,} bytes; {error}). {_AGAIN}") from None
    records = {info.filename: info for info in infos}
    if len(records) < len(infos):
        raise PthError("has two records of one name: the file is damaged or made to mislead.")
    if sum(info.file_size for info in infos) > size:
        raise PthError(
            f"claims {sum(info.file_size for info in infos):,} bytes of records in {size:,} bytes of file. torch.save "
            "neither compresses records nor lets them overlap: unpack the archive and pack it with `zip -0`."
        )
    return records


def _span(data: mmap.mmap, info: zipfile.ZipInfo) -> slice:
    """Where the bytes of a record lie."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
        raise PthError(
            f"has a compressed or encrypted record, {shown(info.filename)}; torch.save writes plain ones. "
            "Unpack the archive and pack it with `zip -0`."
        )
    name = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
    header = data[max(info.header_offset, 0) : max(info.header_offset, 0) + 30]
    if header[:4] == b"PK\x03\x04" and len(header) == 30:
        name_start = info.header_offset + 30
        start = name_start + sum(struct.unpack("<HH", header[26:]))
        if data[name_start : name_start + len(name)] == name and start + info.file_size <= len(data):
            return slice(start, start + info.file_size)
    raise PthError(f"has no record {shown(info.filename)} where its table of contents says: it is damaged. {_AGAIN}")


def _open_legacy(data: mmap.mmap) -> Contents:
    """The format before PyTorch 1.6: five pickles (magic number, protocol, system, value, keys), then the storages."""
    magic = unpickle_tensors(data, 0, len(data))
    if magic.value != _MAGIC:
        raise PthError(
            "is a pickle, but not one of torch.save. Give the file that torch.save(model.state_dict(), ...) wrote."
        )
    protocol = unpickle_tensors(data, magic.end, len(data))
    if protocol.value != _PROTOCOL:
        raise PthError(f"is of a torch.save format that was never in use; the known one is {_PROTOCOL}. {_AGAIN}")
    system = unpickle_tensors(data, protocol.end, len(data))
    pickled = unpickle_tensors(data, system.end, len(data))
    keys = unpickle_tensors(data, pickled.end, len(data))
    if type(keys.value) is not list or not all(type(key) is str for key in keys.value):
        raise PthError(f"has no list of storages after its tensors: the file is damaged. {_AGAIN}")
    places: dict[str, int] = {}
    at = keys.end
    for key in keys.value:
        if key in places or key not in pickled.storages:
            raise PthError(f"lists a storage twice, or one that no tensor uses: the file is damaged. {_AGAIN}")
        storage = pickled.storages[key]
        if at + 8 + storage.total * storage.dtype.itemsize > len(data):
            raise PthError(f"ends before the last of its tensors: it is cut short. {_AGAIN}")
        (count,) = struct.unpack("<q", data[at : at + 8])
        if count != storage.total:
            raise _disagreement(storage, count * storage.dtype.itemsize)
        places[key] = at + 8
        at += 8 + storage.total * storage.dtype.itemsize

    def place(storage: Storage) -> int:
        if storage.key not in places:
            raise PthError(f"lacks the bytes of storage {shown(storage.key)}: the file is damaged. {_AGAIN}")
        return places[storage.key]

    return Contents(data, pickled.value, False, place)


def _disagreement(storage: Storage, found: int) -> PthError:
    return PthError(
        f"describes storage {shown(storage.key)} as {storage.total:,} elements of {storage.dtype}, "
        f"{storage.total * storage.dtype.itemsize:,} bytes, but stores {found:,}: the file is damaged. {_AGAIN}"
    )
