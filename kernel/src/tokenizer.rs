//! Byte-level BPE from the image.
