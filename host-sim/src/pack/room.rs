//! Where an image is written: memory, or a file of which little is in memory at a time.
//!
//! In: what writes. Out: bytes, zeros at first. Knows nothing of images.

use anyhow::{Context, Result};
use memmap2::MmapMut;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use rayon::prelude::*;
use std::fs::File;
use std::ops::Range;

/// Bytes that are written, or read again, before they are let go.
pub(super) const PART: usize = 64 << 20;

/// Bytes that can be let go, and come back.
pub trait Room {
    /// All of them.
    fn bytes(&mut self) -> &mut [u8];

    /// Says that these are not needed soon.
    fn release(&mut self, bytes: Range<usize>);
}

impl Room for Vec<u8> {
    fn bytes(&mut self) -> &mut [u8] {
        self
    }

    fn release(&mut self, _bytes: Range<usize>) {}
}

/// A file.
struct Mapped(MmapMut);

impl Room for Mapped {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    #[cfg_attr(not(unix), expect(unused_variables, reason = "only unix can give memory back"))]
    fn release(&mut self, bytes: Range<usize>) {
        #[cfg(unix)]
        {
            let (advice, length) = (UncheckedAdvice::DontNeed, bytes.len());
            // SAFETY: the map is shared with its file: what was written to it is the file's, and comes back.
            #[allow(unsafe_code, reason = "an image can be larger than memory")]
            let _ = unsafe { self.0.unchecked_advise_range(advice, bytes.start, length) };
        }
    }
}

/// Makes `file`, which is empty, `length` bytes long, and has them written.
///
/// # Errors
/// When there is no room, and those of `write`.
pub(super) fn with_file(
    file: &File,
    length: usize,
    write: impl FnOnce(&mut dyn Room) -> Result<()>,
) -> Result<()> {
    reserve(file, length as u64)?;
    #[allow(unsafe_code, reason = "an image can be larger than memory: it is written mapped")]
    // SAFETY: the file is this process's own and new; no other shortens it.
    let mapped = unsafe { MmapMut::map_mut(file) }.context("the file cannot be mapped")?;
    let mut room = Mapped(mapped);
    write(&mut room)?;
    Ok(room.0.flush()?)
}

/// Takes room on the disk before anything is written: writing to a map cannot say that there is none.
fn reserve(file: &File, length: u64) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(file, FallocateFlags::empty(), 0, length) {
            // A file system that cannot, as some over a network.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            done => return Ok(done?),
        }
    }
    file.set_len(length)
}

/// Calls `work(number, part)` for the parts of `range`, `part` bytes each; on all cores, as many parts at a time
/// as there are, which are then let go.
///
/// # Errors
/// The first of `work`.
pub(super) fn each_part(
    room: &mut dyn Room,
    range: Range<usize>,
    part: usize,
    work: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
) -> Result<()> {
    let cores = rayon::current_num_threads();
    let wave = part.max(1) * cores;
    for (number, start) in range.clone().step_by(wave).enumerate() {
        let some = start..range.end.min(start + wave);
        let parts = room.bytes()[some.clone()].par_chunks_mut(part.max(1)).enumerate();
        parts.try_for_each(|(at, part)| work(number * cores + at, part))?;
        room.release(some);
    }
    Ok(())
}
