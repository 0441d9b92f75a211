"""Images inside a zip file, read in place."""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from conceptprobe.images.errors import SourceError, UnreadableImageError

LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field
SIGNATURE = b"PK\3\4"
LARGEST = 1 << 30  # bytes of one member, unpacked


@dataclass(frozen=True, eq=False)
class ZipReader:
    """Images in a zip file, stored or deflated."""

    path: str
    offset: np.ndarray  # int64, of the local header
    packed: np.ndarray  # int64, bytes in the file
    size: np.ndarray  # int64, bytes unpacked
    crc: np.ndarray  # uint32
    deflated: np.ndarray  # bool

    def read(self, row: int) -> bytes:
        """The bytes of a row's member."""
        size = int(self.size[row])
        if size > LARGEST:
            raise UnreadableImageError(f"decompression bomb: {size} bytes, the limit is {LARGEST}")
        with Path(self.path).open("rb") as file:
            file.seek(self.offset[row])
            header = file.read(LOCAL_HEADER.size)
            if len(header) < LOCAL_HEADER.size or header[:4] != SIGNATURE:
                raise UnreadableImageError("zip: the file has changed since it was listed")
            _, name, extra = LOCAL_HEADER.unpack(header)
            file.seek(name + extra, 1)
            data = file.read(self.packed[row])
        if self.deflated[row]:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            except zlib.error as error:
                raise UnreadableImageError("zip: damaged member") from error
        if len(data) != size or zlib.crc32(data) != self.crc[row]:
            raise UnreadableImageError("zip: damaged member")
        return data

    def take(self, rows: np.ndarray) -> "ZipReader":
        """The reader of these rows."""
        arrays = (self.offset, self.packed, self.size, self.crc, self.deflated)
        return ZipReader(self.path, *(array[rows] for array in arrays))

    def identity(self) -> bytes:
        """The size and the checksum of each member."""
        return self.size.astype("<i8").tobytes() + self.crc.astype("<u4").tobytes()


def list_zip(
    path: str, extensions: frozenset[str], sidecars: tuple[str, ...]
) -> tuple[list[str], list[str], ZipReader]:
    """List the members of a zip file that are images or sidecars, without hidden members.

    Args:
        path: The zip file.
        extensions: Suffixes of images.
        sidecars: File names of sidecars.

    Returns:
        The names of the images, the names of the sidecars, and the reader of the images.

    Raises:
        SourceError: The file is not a complete zip file, or a member is encrypted or not packed by deflate.
    """
    names, metadata, spans = [], [], []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename)
                if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in name.parts):
                    continue
                if name.name in sidecars:
                    metadata.append(member.filename)
                if name.suffix.lower() not in extensions:
                    continue
                if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    how = "encrypted" if member.flag_bits & 1 else f"packed by method {member.compress_type}"
                    raise SourceError(f"{path}: {member.filename} is {how}: store or deflate it, without encryption")
                names.append(member.filename)
                spans.append(
                    (
                        member.header_offset,
                        member.compress_size,
                        member.file_size,
                        member.CRC,
                        member.compress_type != 0,
                    )
                )
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{path} is not a complete zip file ({error}): download it again") from error
    offset, packed, size, crc, deflated = np.array(spans, np.int64).reshape(-1, 5).T
    return names, metadata, ZipReader(path, offset, packed, size, crc.astype(np.uint32), deflated.astype(bool))
