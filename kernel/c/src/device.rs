//! A block device whose reads are functions in C.

use crate::RippleStatus;
use core::ffi::c_void;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, DeviceError, ErrorKind, OutOfRange};

/// Where the image is read from, in blocks of `RIPPLE_BLOCK_BYTES`; block 0 is the image's first.
///
/// The functions return `RIPPLE_STATUS_OK`, or `_TIMEOUT`, `_CORRUPTED`, `_NO_CARD`, `_OUT_OF_RANGE` or
/// `_DEVICE`; after an error `dst` may hold anything, and the next call may come.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RippleDevice {
    /// Handed to the functions; the library does nothing else with it.
    pub context: *mut c_void,
    /// Blocks that the device holds.
    pub blocks: u32,
    /// Fills `dst` with `count` blocks from block `start` on. Never called for none, or beyond the end.
    pub read: Option<
        unsafe extern "C" fn(context: *mut c_void, start: u32, dst: *mut u8, count: u32) -> i32,
    >,
    /// Begins such a read and returns. Null, as `finish`, where reads do not overlap with the core.
    pub start: Option<
        unsafe extern "C" fn(context: *mut c_void, start: u32, dst: *mut u8, count: u32) -> i32,
    >,
    /// Waits until the read that `start` began is done, or has failed: nothing writes `dst` any more.
    pub finish: Option<unsafe extern "C" fn(context: *mut c_void) -> i32>,
}

/// A [`RippleDevice`] whose functions `ripple_open`'s caller has vouched for.
pub struct Device(pub RippleDevice);

impl BlockDevice for Device {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount(self.0.blocks))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let RippleDevice { context, read: Some(read), .. } = self.0 else {
            return Err(ErrorKind::Other);
        };
        let Some((dst, count)) = self.target(start, dst)? else { return Ok(()) };
        // SAFETY: `dst` has room for `count` blocks, all of which the device has.
        RippleStatus::device(unsafe { read(context, start.0, dst, count) })
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, ErrorKind> {
        let RippleDevice { context, start: Some(begin), finish: Some(finish), .. } = self.0 else {
            self.read(start, dst)?;
            return Ok(work());
        };
        let Some((dst, count)) = self.target(start, dst)? else { return Ok(work()) };
        // SAFETY: as above; `dst` is borrowed until `finish` has returned. Should `work` unwind, the
        // process ends at the function that C called.
        RippleStatus::device(unsafe { begin(context, start.0, dst, count) })?;
        let result = work();
        // SAFETY: a read is under way.
        RippleStatus::device(unsafe { finish(context) })?;
        Ok(result)
    }
}

impl Device {
    /// Where to read to and how many blocks, if any.
    fn target(
        &self,
        start: BlockIdx,
        dst: &mut [Block],
    ) -> Result<Option<(*mut u8, u32)>, ErrorKind> {
        OutOfRange::check(start, dst, BlockCount(self.0.blocks)).map_err(|error| error.kind())?;
        let count = u32::try_from(dst.len()).map_err(|_| ErrorKind::OutOfRange)?;
        Ok((count > 0).then_some((Block::bytes_mut(dst).as_mut_ptr(), count)))
    }
}
