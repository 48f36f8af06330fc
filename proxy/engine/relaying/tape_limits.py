"""The sizes of a tape, in bytes, each with its reason."""

BLOCK_BYTES = 16 * 1024
"""An open block is sealed at this size: enough for zlib to find repetition, small enough to decompress in 50 µs."""

MEMORY_BYTES = 16 * 1024
"""Sealed (compressed) bytes a tape holds in memory before it spills: with the open block, its decompressed copy for a
reader and a socket's buffer a kept stream stays near 64 KiB, whatever its length."""

REST_BYTES = 2 * 1024
"""The rest of an ended tape is compressed from this size on: below, a compressor costs more than it saves."""

SLOT_BYTES = BLOCK_BYTES + 1024
"""A slot of the spill file: a block that zlib could not shrink still fits."""
