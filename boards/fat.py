"""Damage to a card image, as a card suffers it: a FAT32 file cut, lost or scattered.

In: a `bytearray` of a card that `ripple card` made: one partition, FAT32, one file in one piece.
Out: the same, changed. Layout: Microsoft, "FAT: General Overview of On-Disk Format", 1.03, 2000.
"""

import struct

BLOCK = 512
PARTITION_TYPE = 446 + 4
FIRST_BLOCK = 446 + 8
CHAIN_ENDS = 0x0FFF_FFFF


def first_block(card):
    """The first block of the first partition."""
    return struct.unpack_from("<I", card, FIRST_BLOCK)[0]


class Fat32:
    """The volume in the first partition of `card`, and the file of `name` in its root directory."""

    def __init__(self, card, name=b"RIPPLE  IMG"):
        self.card = card
        volume = first_block(card) * BLOCK
        self.cluster_bytes = card[volume + 13] * BLOCK
        reserved, tables = struct.unpack_from("<HB", card, volume + 14)
        table_blocks, = struct.unpack_from("<I", card, volume + 36)
        root, = struct.unpack_from("<I", card, volume + 44)
        self.tables = [volume + (reserved + i * table_blocks) * BLOCK for i in range(tables)]
        self.data = self.tables[0] + tables * table_blocks * BLOCK
        self.count = table_blocks * BLOCK // 4
        self.entry = card.index(name, self.place(root))
        high, = struct.unpack_from("<H", card, self.entry + 20)
        low, self.bytes = struct.unpack_from("<HI", card, self.entry + 26)
        self.first = high << 16 | low

    def place(self, cluster):
        """Where a cluster's bytes are."""
        return self.data + (cluster - 2) * self.cluster_bytes

    def next(self, cluster):
        """The entry of a cluster in the table."""
        return struct.unpack_from("<I", self.card, self.tables[0] + 4 * cluster)[0] & CHAIN_ENDS

    def link(self, cluster, to):
        """Sets that entry in every table."""
        for table in self.tables:
            struct.pack_into("<I", self.card, table + 4 * cluster, to)

    def cut(self, length):
        """Ends the file after `length` bytes, as a copy that was not finished does."""
        struct.pack_into("<I", self.card, self.entry + 28, length)

    def remove(self):
        """Deletes the directory entry."""
        self.card[self.entry] = 0xE5

    def scatter(self, pieces):
        """Moves every second piece of the file, of `pieces`, behind its end."""
        clusters = -(-self.bytes // self.cluster_bytes)
        assert pieces % 2 == 1, "the last piece stays where it is"
        for piece in range(1, pieces, 2):
            first = self.first + piece * clusters // pieces
            last = self.first + (piece + 1) * clusters // pieces - 1
            moved = last - first + 1
            # One cluster is left free in front, so that no piece joins the one before.
            to = self.first + clusters + 1
            while any(self.next(to + i) for i in range(-1, moved)):
                to += 1
            start, size = self.place(first), moved * self.cluster_bytes
            self.card[self.place(to):self.place(to) + size] = self.card[start:start + size]
            self.card[start:start + size] = b"\xFF" * size
            self.link(first - 1, to)
            for i in range(moved):
                self.link(to + i, to + i + 1 if i + 1 < moved else last + 1)
                self.link(first + i, 0)
