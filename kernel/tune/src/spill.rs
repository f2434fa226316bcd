//! The tape of a layer on its way to the card and back.
//!
//! In: a device that can be written, the arena. Out: the same bytes, later. Knows nothing of what they are.

use crate::real::Real;
use crate::space::Space;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, WriteDevice};
use ripple_kernel::Probe;
use ripple_kernel::image::Crc32;
use ripple_kernel::read::reader::{FetchError, Reader};

/// Where tapes wait, and how they come there: the device can be written, of which its type does not speak.
pub(crate) struct Spill<D: BlockDevice> {
    start: BlockIdx,
    /// Blocks of a layer.
    layer: BlockCount,
    #[allow(clippy::type_complexity, reason = "a function of the device's")]
    write: fn(&mut D, BlockIdx, &[Block]) -> Result<(), D::Error>,
}

impl<D: BlockDevice> Spill<D> {
    pub fn new(start: BlockIdx, layer: BlockCount) -> Self
    where
        D: WriteDevice,
    {
        Self { start, layer, write: D::write }
    }

    /// Writes the tape of a layer, and keeps its checksum.
    pub fn put<P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        layer: usize,
    ) -> Result<(), FetchError<D::Error>> {
        let (device, staging) = reader.between();
        let mut at = self.start + BlockCount(self.layer.0 * layer as u32);
        let mut crc = Crc32::new();
        let mut filled = 0;
        let mut write = |staging: &[Block], at: &mut BlockIdx| {
            let result = (self.write)(device, *at, staging);
            let result = result.map_err(|source| FetchError::Device { at: *at, source });
            *at = *at + BlockCount(staging.len() as u32);
            result
        };
        for part in space.tape() {
            crc.update(part);
            let mut rest = &*part;
            while !rest.is_empty() {
                let room = Block::bytes_mut(staging).get_mut(filled..).unwrap_or_default();
                let count = room.len().min(rest.len());
                room.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                (filled, rest) = (filled + count, rest.get(count..).unwrap_or(&[]));
                if filled == size_of_val(&*staging) {
                    write(staging, &mut at)?;
                    filled = 0;
                }
            }
        }
        let last = BlockCount::for_bytes(filled as u64).0 as usize;
        if last > 0 {
            write(staging.get(..last).unwrap_or(&[]), &mut at)?;
        }
        if let Some(sum) = space.checksums.get_mut(layer) {
            *sum = crc.finish();
        }
        Ok(())
    }

    /// Reads it again.
    pub fn get<P: Probe, R: Real>(
        &self,
        reader: &mut Reader<'_, D, P>,
        space: &mut Space<'_, R>,
        layer: usize,
    ) -> Result<(), FetchError<D::Error>> {
        let (device, staging) = reader.between();
        let table = self.start + BlockCount(self.layer.0 * layer as u32);
        let (mut at, mut left) = (table, space.tape().map(|part| part.len()).iter().sum::<usize>());
        let expected = space.checksums.get(layer).copied();
        let mut crc = Crc32::new();
        let mut used = size_of_val(&*staging);
        for part in space.tape() {
            let mut rest = &mut *part;
            while !rest.is_empty() {
                if used == size_of_val(&*staging) {
                    let count = BlockCount::for_bytes(left as u64).0 as usize;
                    let count = count.min(staging.len());
                    let blocks = staging.get_mut(..count).unwrap_or_default();
                    let result = device.read(at, blocks);
                    result.map_err(|source| FetchError::Device { at, source })?;
                    at = at + BlockCount(count as u32);
                    used = 0;
                }
                let bytes = Block::bytes(staging).get(used..).unwrap_or(&[]);
                let count = bytes.len().min(rest.len());
                let (front, more) = rest.split_at_mut_checked(count).unwrap_or_default();
                front.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                crc.update(front);
                (used, left, rest) = (used + count, left - count, more);
            }
        }
        if Some(crc.finish()) != expected {
            return Err(FetchError::Corrupt { table, slot: layer as u32 });
        }
        Ok(())
    }
}
