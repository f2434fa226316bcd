//! An open image: its header, the part of it that is mapped, and tables to read records from.
//!
//! In: a header and the mapped prefix. Out: for each table, which records can be used in place and
//! where the others are on the device.

use super::crc::Crc32;
use super::error::ImageError;
use super::header::Header;
use super::record::{Record, RecordLayout, RecordSizes, identity};
use super::section::SectionKind;
use ripple_hal::{BlockCount, BlockIdx};

/// An open image.
#[derive(Clone, Copy)]
pub struct Image<'m> {
    /// Its header.
    pub header: Header,
    mapped: &'m [u8],
}

/// One part of a section: records of one layout, the first ones mapped, all of them on the device.
#[derive(Clone, Copy)]
pub struct Table<'m> {
    /// Number of records.
    pub count: u32,
    /// Layout of each.
    pub layout: RecordLayout,
    /// Block of the image where the first record starts.
    pub start: BlockIdx,
    sizes: RecordSizes,
    mapped: &'m [u8],
    /// Records that lie in the mapped prefix as a whole: the first ones.
    pub mapped_records: u32,
    identity: u32,
}

impl<'m> Image<'m> {
    /// Joins a header with the prefix of the image that is mapped (maybe nothing).
    pub fn new(header: Header, mapped: &'m [u8]) -> Self {
        Self { header, mapped }
    }

    /// The records of `layer`'s part of a section (layer 0 where it has only one).
    pub fn table(&self, kind: SectionKind, layer: u32) -> Table<'m> {
        let (count, layout) = self.header.geometry.table(kind).unwrap_or((
            0,
            RecordLayout { quant: super::Quant::F32, rows: 0, cols: 0, bias: false },
        ));
        let section = self.header.section(kind);
        let start = section.start.0.saturating_add(section.part.0.saturating_mul(layer));
        let mapped = from_block(self.mapped, start).unwrap_or(&[]);
        let sizes = layout.sizes();
        let mapped_records = count.min((mapped.len() / sizes.stride.max(1) as usize) as u32);
        let identity = identity(self.header.number, kind.index() as u32, layer, 0);
        Table { count, layout, start: BlockIdx(start), sizes, mapped, mapped_records, identity }
    }

    /// The blocks of the tokenizer section, if they lie in the mapped prefix.
    pub fn tokenizer(&self) -> Option<&'m [u8]> {
        let section = self.header.section(SectionKind::Tokenizer);
        from_block(self.mapped, section.start.0)?.get(..bytes_before(section.part.0)?)
    }

    /// Checks the CRC of every section that lies in the mapped prefix as a whole, and each mapped
    /// record of the one that lies there in part.
    ///
    /// # Errors
    /// The first section, or record, whose bytes are not the ones that were packed.
    pub fn verify_mapped(&self) -> Result<(), ImageError> {
        for kind in SectionKind::ALL {
            let section = self.header.section(kind);
            let blocks = section.part.0.saturating_mul(self.header.parts(kind));
            let whole = |rest: &'m [u8]| rest.get(..bytes_before(blocks)?);
            let Some(bytes) = from_block(self.mapped, section.start.0).and_then(whole) else {
                self.verify_records(kind)?;
                continue;
            };
            let mut crc = Crc32::new();
            crc.update(bytes);
            let (expected, found) = (crc.finish(), section.crc);
            if expected != found {
                return Err(ImageError::SectionCrc { kind, expected, found });
            }
        }
        Ok(())
    }

    /// Checks the mapped records of a section one by one.
    fn verify_records(&self, kind: SectionKind) -> Result<(), ImageError> {
        for layer in 0..self.header.parts(kind) {
            let table = self.table(kind, layer);
            for slot in 0..table.mapped_records {
                let identity = table.identity(slot);
                if !table.mapped(slot).is_some_and(|record| record.is(identity)) {
                    return Err(ImageError::Record { kind, layer, slot });
                }
            }
        }
        Ok(())
    }
}

/// Bytes of `blocks` blocks, where that many can be addressed.
fn bytes_before(blocks: u32) -> Option<usize> {
    usize::try_from(BlockCount(blocks).bytes()).ok()
}

/// What of `mapped` follows the start of a block. An image may be longer than what 32 bits address.
fn from_block(mapped: &[u8], block: u32) -> Option<&[u8]> {
    mapped.get(bytes_before(block)?..)
}

impl<'m> Table<'m> {
    /// A table that is no section of an image: `count` records of `layout` from block `start` on, none of
    /// them mapped. `identity`: what its first record calls itself (see
    /// [`identity`](super::record::identity)); the others differ from it in their slot.
    pub const fn on_card(
        count: u32,
        layout: RecordLayout,
        start: BlockIdx,
        identity: u32,
    ) -> Table<'static> {
        let sizes = layout.sizes();
        Table { count, layout, start, sizes, mapped: &[], mapped_records: 0, identity }
    }

    /// The record of `slot`, if it is mapped.
    #[inline]
    pub fn mapped(&self, slot: u32) -> Option<Record<'m>> {
        if slot >= self.mapped_records {
            return None;
        }
        let at = slot as usize * self.sizes.stride as usize;
        self.layout.view_sized(self.sizes, self.mapped.get(at..)?)
    }

    /// The record of `slot` at the start of `bytes`; its check is verified.
    ///
    /// `None` when the bytes are not that record.
    #[inline]
    pub fn arrived<'a>(&self, slot: u32, bytes: &'a [u8]) -> Option<Record<'a>> {
        let record = self.layout.view_sized(self.sizes, bytes)?;
        record.is(self.identity ^ slot).then_some(record)
    }

    /// What the record of `slot` must call itself.
    pub fn identity(&self, slot: u32) -> u32 {
        self.identity ^ slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_beyond_4_gib_are_not_mapped_to_the_front() {
        let mapped = [1u8; 1024];
        assert_eq!(from_block(&mapped, 1).map(<[u8]>::len), Some(512));
        for block in [3, 1 << 23, 1 + (1 << 23), u32::MAX] {
            assert_eq!(from_block(&mapped, block), None, "{block}");
        }
    }
}
