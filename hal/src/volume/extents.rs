//! The runs of blocks that hold a file.
//!
//! In: runs, in file order. Out: [`Extents`], merged and counted. Knows nothing of directories,
//! clusters or devices.

use crate::{BlockCount, BlockIdx};
use heapless::Vec;

/// Consecutive blocks of a file that are consecutive on the device too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FileExtent {
    /// First block, counted in the file.
    pub file: BlockIdx,
    /// The same block, counted on the device.
    pub device: BlockIdx,
    /// How many blocks follow each other, this one included; never 0.
    pub count: BlockCount,
}

/// The extents of a file, at most `N`.
///
/// They are in file order, the first begins at file block 0, each begins where the one before ends,
/// and no two that could be one are kept apart: `push` keeps it so.
#[derive(Clone, Debug, Default)]
pub struct Extents<const N: usize> {
    runs: Vec<FileExtent, N>,
}

/// There is no room for one more extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Full;

impl<const N: usize> Extents<N> {
    pub(super) const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// The extents, in file order.
    pub fn as_slice(&self) -> &[FileExtent] {
        &self.runs
    }

    /// How many blocks they hold together.
    pub fn blocks(&self) -> BlockCount {
        self.runs.last().map_or(BlockCount(0), |last| (last.file + last.count) - BlockIdx(0))
    }

    /// Appends `count` blocks that lie at `device`.
    pub(super) fn push(&mut self, device: BlockIdx, count: BlockCount) -> Result<(), Full> {
        if count.0 == 0 {
            return Ok(());
        }
        if let Some(last) = self.runs.last_mut()
            && last.device + last.count == device
        {
            last.count += count;
            return Ok(());
        }
        let file = BlockIdx(self.blocks().0);
        self.runs.push(FileExtent { file, device, count }).map_err(|_| Full)
    }

    /// Forgets what lies beyond `blocks`.
    pub(super) fn truncate(&mut self, blocks: BlockCount) {
        while let Some(last) = self.runs.last_mut() {
            let kept = BlockIdx(blocks.0) - last.file;
            if kept.0 > 0 {
                last.count = last.count.min(kept);
                return;
            }
            self.runs.pop();
        }
    }

    /// The extents that hold the blocks from `start` on, the first one cut to begin there.
    pub(super) fn from(&self, start: BlockIdx) -> impl Iterator<Item = FileExtent> + '_ {
        let first = self.runs.partition_point(|run| run.file + run.count <= start);
        self.runs.iter().skip(first).map(move |run| {
            let skipped = start - run.file;
            FileExtent {
                file: run.file + skipped,
                device: run.device + skipped,
                count: BlockCount(run.count.0.saturating_sub(skipped.0)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(runs: &[(u32, u32)]) -> Extents<4> {
        let mut extents = Extents::new();
        for &(device, count) in runs {
            extents.push(BlockIdx(device), BlockCount(count)).unwrap();
        }
        extents
    }

    #[test]
    fn neighbours_become_one_extent() {
        let joined = extents(&[(10, 4), (14, 4), (30, 2), (32, 0), (18, 1)]);
        let runs: std::vec::Vec<_> =
            joined.as_slice().iter().map(|r| (r.file.0, r.device.0, r.count.0)).collect();
        assert_eq!(runs, [(0, 10, 8), (8, 30, 2), (10, 18, 1)]);
        assert_eq!(joined.blocks(), BlockCount(11));
    }

    #[test]
    fn truncation_drops_and_shortens() {
        let mut cut = extents(&[(10, 4), (30, 4), (50, 4)]);
        cut.truncate(BlockCount(6));
        assert_eq!(cut.blocks(), BlockCount(6));
        assert_eq!(cut.as_slice().len(), 2);
        cut.truncate(BlockCount(0));
        assert!(cut.as_slice().is_empty());
    }

    #[test]
    fn one_extent_too_many_is_refused() {
        let mut full = extents(&[(10, 1), (20, 1), (30, 1), (40, 1)]);
        assert_eq!(full.push(BlockIdx(50), BlockCount(1)), Err(Full));
        assert_eq!(full.push(BlockIdx(41), BlockCount(1)), Ok(()), "it extends the last one");
    }
}
