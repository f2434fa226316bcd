//! CRC-32 (ISO-HDLC, as in gzip) of headers and sections.

use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};

static CRC32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// The checksum of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

/// A checksum of bytes that come in pieces.
pub struct Crc32(Digest<'static, u32, Table<1>>);

impl Crc32 {
    /// Starts a checksum.
    pub fn new() -> Self {
        Self(CRC32.digest())
    }

    /// Goes on where a checksum ended; 0 is that of no bytes.
    pub(crate) fn after(checksum: u32) -> Self {
        Self(CRC32.digest_with_initial((!checksum).reverse_bits()))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was added.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_goes_on_where_one_ended() {
        let text = b"keys and values";
        for at in 0..=text.len() {
            let mut rest = Crc32::after(crc32(&text[..at]));
            rest.update(&text[at..]);
            assert_eq!(rest.finish(), crc32(text));
        }
    }
}
