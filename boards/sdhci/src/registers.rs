//! The controller's registers, and what memory needs before and after the controller uses it.
//!
//! In: a base address. Out: [`Registers`], 32-bit accesses only (the BCM2835 takes no others). Knows
//! nothing of commands.

use core::ptr::NonNull;
use ripple_hal::Block;

/// Bytes of a controller's register set.
const LENGTH: usize = 0x100;

/// The registers of one slot of an SD host controller.
///
/// A board whose memory the controller can use implements the DMA methods; the provided ones say that it
/// cannot, and the driver copies by programmed I/O.
pub trait Registers {
    /// The register at byte `offset`, a multiple of 4 below 0x100.
    fn read(&self, offset: usize) -> u32;

    /// Sets the register at byte `offset`, a multiple of 4 below 0x100.
    fn write(&mut self, offset: usize, value: u32);

    /// Hands `dst` to the controller and gives its address on the controller's bus, or `None` if the
    /// controller must not write it itself.
    ///
    /// The two addresses must be equal modulo 512 KiB. Every earlier write of the core is visible in
    /// memory afterwards. On a core with a data cache that the controller does not look into, this cleans
    /// and invalidates the lines of `dst`: none of them may be written back on top of what arrives.
    fn begin_dma(&mut self, dst: &mut [Block]) -> Option<u32> {
        let _ = dst;
        None
    }

    /// Takes `dst` back: what the controller wrote is what the core reads afterwards.
    ///
    /// On a core with a data cache this invalidates the lines of `dst` once more, since the core may
    /// have fetched some on speculation. Called once for every `begin_dma` that gave an address,
    /// after the controller has stopped, whether the read succeeded or not.
    fn end_dma(&mut self, dst: &mut [Block]) {
        let _ = dst;
    }

    /// Shows `src` to the controller and gives its address on the controller's bus, as
    /// [`begin_dma`](Self::begin_dma) does, or `None` if the controller must not read it itself.
    ///
    /// What the core wrote to `src` is in memory afterwards: on a core with a data cache that the
    /// controller does not look into, this cleans the lines of `src`. The core reads `src` at any time.
    fn begin_dma_from(&mut self, src: &[Block]) -> Option<u32> {
        let _ = src;
        None
    }

    /// The controller has stopped reading `src`. Called once for every `begin_dma_from` that gave an
    /// address, whether the write succeeded or not.
    fn end_dma_from(&mut self, src: &[Block]) {
        let _ = src;
    }
}

/// Registers in memory, as every system on a chip has them; no DMA.
#[derive(Debug)]
pub struct Mmio {
    base: NonNull<u32>,
}

#[allow(unsafe_code, reason = "memory-mapped registers")]
impl Mmio {
    /// The registers at address `base`; `None` if that is 0 or not aligned to 4 bytes.
    ///
    /// # Safety
    /// At `base` must be 256 bytes of registers of an SD host controller, mapped as device memory,
    /// that nothing else uses as long as this value lives.
    pub unsafe fn new(base: usize) -> Option<Self> {
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut::<u32>(base))?;
        base.is_aligned().then_some(Self { base })
    }

    fn register(&self, offset: usize) -> *mut u32 {
        self.base.as_ptr().wrapping_byte_add(offset & (LENGTH - 4))
    }
}

#[allow(unsafe_code, reason = "memory-mapped registers")]
impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: by the contract of `new` there are registers from `base` to `base + LENGTH`, and
        // `register` gives an aligned address among them.
        unsafe { self.register(offset).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { self.register(offset).write_volatile(value) }
    }
}
