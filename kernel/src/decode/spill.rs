//! Room in the KV cache: its oldest positions go to the card.
//!
//! In: a decoder on a device that can be written. Out: the same, with room for more positions; every
//! result has the bits that it would have with all of them in memory.

use super::Decoder;
use crate::image::Crc32;
use crate::layer::spilled::Spilled;
use crate::memory::kv::Side;
use crate::read::probe::Probe;
use crate::slices::front_mut;
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, WriteDevice};
use zerocopy::IntoBytes;

/// Why positions were not moved to the card. It can be tried again; nothing that counts has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpillError<E> {
    /// The device failed.
    #[error("the device failed at block {}: {source:?}", at.0)]
    Device {
        /// First block of the write.
        at: BlockIdx,
        /// The device's error.
        source: E,
    },
    /// Fewer positions are in memory than can be moved at once, or all that may be fed have been.
    #[error("{held} positions in memory, {unit} at least are moved at once")]
    TooFew {
        /// Positions in memory.
        held: u32,
        /// Positions whose keys fill whole blocks.
        unit: u32,
    },
}

impl<D: BlockDevice, P: Probe> Decoder<'_, D, P> {
    /// The first positions, which are on the card: as many as this.
    pub fn spilled(&self) -> u32 {
        self.kv.spilled()
    }
}

impl<D: WriteDevice, P: Probe> Decoder<'_, D, P> {
    /// Moves about half of the positions that are in memory to the card, the oldest ones, behind the
    /// image: at most [`Options::spill`](crate::Options::spill) of them in all, in
    /// [`Options::spill_blocks`](crate::Options::spill_blocks).
    ///
    /// Keys and values of each layer lie there in two tables, one row a position. Written through
    /// staging, in commands as long as it. The checksum of each table stays in memory: a pass that reads
    /// rows that are damaged, or not those that were written, is [`StepError::Corrupt`].
    ///
    /// # Errors
    /// See [`SpillError`].
    ///
    /// [`StepError::Corrupt`]: crate::StepError::Corrupt
    pub fn spill(&mut self) -> Result<(), SpillError<D::Error>> {
        let row = 4 * self.kv.row_words() as u32;
        let config = self.image.header.geometry.config;
        let unit = self.options.spill_unit(&config);
        let first = self.kv.spilled();
        let held = self.position.saturating_sub(first);
        let most = self.options.spill_of(&config);
        let mask = !(unit - 1);
        // A table's last block holds what there is room for.
        let room = ((most + unit - 1) & mask).saturating_sub(first);
        let count = (held / 2).max(unit).min(room) & mask;
        if count == 0 || count > held {
            return Err(SpillError::TooFew { held, unit });
        }
        let spilled = Spilled::new(self.image.header.blocks, most, row);
        let skip = BlockCount((u64::from(first) * u64::from(row) / BLOCK_BYTES as u64) as u32);
        let tables =
            || (0..config.layers).flat_map(|l| [Side::Key, Side::Value].map(|side| (l, side)));
        for (layer, side) in tables() {
            let mut at = spilled.table(layer, side) + skip;
            let mut left = (u64::from(count) * u64::from(row) / BLOCK_BYTES as u64) as usize;
            let rows = (first..first + count).map(|position| self.kv.row(layer, position, side));
            let mut bytes = rows.flat_map(|row| row.as_bytes());
            while left > 0 && !self.staging.is_empty() {
                let blocks = left.min(self.staging.len());
                let piece = front_mut(self.staging, blocks);
                for byte in Block::bytes_mut(piece) {
                    *byte = bytes.next().copied().unwrap_or(0);
                }
                self.peak_staging = self.peak_staging.max(blocks as u32);
                let written = self.device.write(at, piece);
                written.map_err(|source| SpillError::Device { at, source })?;
                at = at + BlockCount(blocks as u32);
                left -= blocks;
            }
        }
        // Nothing has failed: from here on they count as written.
        for ((layer, side), check) in tables().zip(self.state.checks.iter_mut()) {
            let mut crc = Crc32::after(if first == 0 { 0 } else { *check });
            for position in first..first + count {
                crc.update(self.kv.row(layer, position, side).as_bytes());
            }
            *check = crc.finish();
        }
        self.kv.forget(config.layers, first + count, held - count);
        self.spilled = Some(spilled);
        Ok(())
    }
}
