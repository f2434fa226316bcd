//! Keys and values on the card: the oldest positions, behind the image.
//!
//! In: reads, and the checksums of what was written. Out: chunks of rows, in order, those of a side of a
//! layer in one table. Only a decoder that has moved positions there has one of these, so that a firmware
//! that moves none does not link what reads them.

use crate::config::ModelConfig;
use crate::image::Crc32;
use crate::layer::attention::{self, Chunks, Query};
use crate::memory::RunState;
use crate::memory::kv::{KvCache, KvRows, Side};
use crate::read::collapse::collapse;
use crate::read::fetch::{Corrupt, FetchError, Records};
use crate::read::probe::{Probe, Stage};
use crate::slices;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockDevice, BlockIdx};
use zerocopy::FromBytes;

// The bytes of a row are the same in memory and on the card.
const _: () = assert!(cfg!(target_endian = "little"));

/// See the [module](self).
pub(crate) struct Spilled<D: BlockDevice, P> {
    /// The first block of the first table.
    start: BlockIdx,
    /// Of a table.
    blocks: BlockCount,
    /// [`attend`](attention::attend) with what is on the card: a value, so that firmware which moves
    /// nothing there does not link it.
    pub attend: Attend<D, P>,
}

/// What mixes the values of all positions, for position `i` of the chunk.
type Attend<D, P> = fn(
    spilled: &Spilled<D, P>,
    records: &mut Records<'_, '_, D, P>,
    state: &mut RunState<'_>,
    kv: &KvCache<'_>,
    config: &ModelConfig,
    layer: u32,
    i: usize,
) -> Result<(), FetchError<<D as BlockDevice>::Error>>;

impl<D: BlockDevice, P: Probe> Spilled<D, P> {
    /// Tables for `positions`, of rows of `row` bytes, behind an image of `image` blocks.
    pub fn new(image: BlockCount, positions: u32, row: u32) -> Self {
        let bytes = u64::from(positions) * u64::from(row);
        let blocks = u32::try_from(bytes.div_ceil(BLOCK_BYTES as u64)).unwrap_or(u32::MAX);
        Self { start: BlockIdx(image.0), blocks: BlockCount(blocks), attend }
    }

    /// The first block of a table; one that no device has where that is beyond 2 TiB.
    pub fn table(&self, layer: u32, side: Side) -> BlockIdx {
        let tables = (2 * layer + side as u32).saturating_mul(self.blocks.0);
        BlockIdx(self.start.0.saturating_add(tables))
    }
}

/// Which of the `(layers, 2)` checksums is that of a table: a CRC-32 of all its rows in their order, as
/// they were when they were written. It is kept in memory, and so finds what a check beside the rows
/// would not: a write that was lost, and rows of another text.
pub(crate) fn check_of(layer: u32, side: Side) -> usize {
    2 * layer as usize + side as usize
}

fn attend<D: BlockDevice, P: Probe>(
    spilled: &Spilled<D, P>,
    records: &mut Records<'_, '_, D, P>,
    state: &mut RunState<'_>,
    kv: &KvCache<'_>,
    config: &ModelConfig,
    layer: u32,
    i: usize,
) -> Result<(), FetchError<D::Error>> {
    let check = |side| state.checks.get(check_of(layer, side)).copied();
    let checks = [check(Side::Key), check(Side::Value)];
    let query = Query::new(state, kv, config, layer, i);
    // Every row is read once, for all heads.
    let heads = config.heads as usize;
    attention::attend(query, heads, &mut FromCard { spilled, records, checks })
}

/// What is on the card, as much at a time as arrives, then what is in memory.
struct FromCard<'s, 'r, 'b, 'a, D: BlockDevice, P> {
    spilled: &'s Spilled<D, P>,
    records: &'r mut Records<'b, 'a, D, P>,
    /// Of keys and values.
    checks: [Option<u32>; 2],
}

impl<D: BlockDevice, P: Probe> Chunks for FromCard<'_, '_, '_, '_, D, P> {
    type Error = FetchError<D::Error>;

    fn each(
        &mut self,
        kv: &KvCache<'_>,
        layer: u32,
        side: Side,
        last: u32,
        mut visit: impl FnMut(KvRows<'_>),
    ) -> Result<(), Self::Error> {
        let table = self.spilled.table(layer, side);
        let (count, stride) = (kv.spilled(), kv.row_words());
        let row = 4 * stride as u32;
        // Nothing is read ahead of a pass that reads these: see `Decoder::parts`.
        let Records::Io(io) = &mut *self.records else {
            return Err(FetchError::Corrupt { table, slot: 0 });
        };
        let mut check = Crc32::new();
        let mut extents = collapse(0..count, row, BlockCount(0), io.half());
        io.fetch(Stage::Attention, table, None, &mut extents, &mut |_, arrived| {
            let Some((extent, bytes)) = arrived else { return Ok(()) };
            let first = extent.first_slot;
            let before = u64::from(extent.start) * BLOCK_BYTES as u64;
            let skip = (u64::from(first) * u64::from(row)).saturating_sub(before);
            let rows = slices::part(bytes, skip as usize, extent.wanted as usize * row as usize);
            check.update(rows);
            let words = <[u32]>::ref_from_bytes(rows).map_err(|_| Corrupt { slot: first })?;
            visit(KvRows { words, stride, first });
            Ok(())
        })?;
        if self.checks.get(side as usize) != Some(&Some(check.finish())) {
            return Err(FetchError::Corrupt { table, slot: count.saturating_sub(1) });
        }
        visit(kv.rows(layer, side, last));
        Ok(())
    }
}
