//! Memory that C lends: what a model needs under which options, and how one piece is divided.

use crate::RippleStatus;
use crate::pointer::{flag, value, values, values_mut, write};
use core::ffi::c_void;
use ripple_hal::{Block, BlockCount};
use ripple_kernel::image::Header;
use ripple_kernel::memory::cache::{Admission, Eviction};
use ripple_kernel::{KvKind, Memory, MemoryPlan, Options, Region};

/// Bytes of a block.
pub const RIPPLE_BLOCK_BYTES: usize = 512;
/// What the staging region's address must be a multiple of.
pub const RIPPLE_STAGING_ALIGNMENT: usize = 64;
/// What every other region's address must be a multiple of.
pub const RIPPLE_ALIGNMENT: usize = 4;
/// Keys and values in 16 bits.
pub const RIPPLE_KV_F16: u32 = 0;
/// Keys and values in 8 bits.
pub const RIPPLE_KV_Q8: u32 = 1;
/// The dynamic part of the cache evicts by S3-FIFO.
pub const RIPPLE_EVICTION_S3_FIFO: u32 = 0;
/// The dynamic part of the cache evicts the least recently used.
pub const RIPPLE_EVICTION_LRU: u32 = 1;

// What `ripple_plan` promises.
const _: () = assert!(Header::most_bytes(256) <= 16 * 1024);
const _: () = assert!(
    RIPPLE_BLOCK_BYTES == size_of::<Block>() && RIPPLE_STAGING_ALIGNMENT == align_of::<Block>()
);

/// What the caller decides. None changes what a token is but `kv` and `context`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RippleOptions {
    /// Positions of the KV cache; more than the model's context is cut to it.
    pub context: u32,
    /// Numbers in the KV cache: `RIPPLE_KV_F16` or `RIPPLE_KV_Q8`.
    pub kv: u32,
    /// Blocks of staging, both halves together; raised to what the largest record needs.
    pub staging_blocks: u32,
    /// Blocks of staging besides, that the pages of several layers are read into at once; 0 for none. Takes nothing in
    /// images without pages.
    pub page_buffer_blocks: u32,
    /// Bytes of the neuron cache.
    pub cache_bytes: u32,
    /// Most of the cache that the hot prefix may take, in thousandths.
    pub hot_permille: u32,
    /// A run of this many missed neurons or more is long.
    pub admission_long_run: u32,
    /// Of the neurons of a long run one in so many enters the dynamic part of the cache; 0: none.
    pub admission_one_in: u32,
    /// What leaves it: `RIPPLE_EVICTION_S3_FIFO` or `RIPPLE_EVICTION_LRU`.
    pub eviction: u32,
    /// Most unwanted blocks that are read through instead of starting a new read.
    pub collapse_gap: u32,
    /// Most positions of a pass.
    pub batch: u32,
    /// 1 for reading a layer's context page while its attention is computed, 0 for not.
    pub read_ahead: u8,
    /// 1 for checking the checksum of every mapped section in opening, 0 for not.
    pub verify: u8,
}

/// Bytes that each region needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RipplePlan {
    /// Activations, logits, the active set.
    pub work: usize,
    /// Where reads arrive; must be reachable by DMA.
    pub staging: usize,
    /// Neuron bundles.
    pub cache: usize,
    /// What is where in the cache.
    pub index: usize,
    /// Keys and values of past positions.
    pub kv: usize,
}

/// A piece of memory. `start` may be null where `bytes` is 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RippleRegion {
    /// Its address.
    pub start: *mut c_void,
    /// Its size.
    pub bytes: usize,
}

/// Memory for one decoder; the regions do not overlap.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RippleMemory {
    /// See `RipplePlan`.
    pub work: RippleRegion,
    /// See `RipplePlan`.
    pub staging: RippleRegion,
    /// See `RipplePlan`.
    pub cache: RippleRegion,
    /// See `RipplePlan`.
    pub index: RippleRegion,
    /// See `RipplePlan`.
    pub kv: RippleRegion,
}

const _: () = assert!(KvKind::F16 as u32 == RIPPLE_KV_F16 && KvKind::Q8 as u32 == RIPPLE_KV_Q8);
const _: () = assert!(Eviction::S3Fifo as u32 == RIPPLE_EVICTION_S3_FIFO);
const _: () = assert!(Eviction::Lru as u32 == RIPPLE_EVICTION_LRU);

/// The options to start from: a 16-bit KV cache of 256 positions, 16 KiB of staging, no neuron cache.
#[unsafe(no_mangle)]
pub extern "C" fn ripple_default_options() -> RippleOptions {
    let options = Options::DEFAULT;
    RippleOptions {
        context: options.context,
        kv: options.kv as u32,
        staging_blocks: options.staging.0,
        page_buffer_blocks: options.page_buffer.0,
        cache_bytes: options.cache_bytes,
        hot_permille: options.hot_permille,
        admission_long_run: options.admission.long_run,
        admission_one_in: options.admission.one_in,
        eviction: options.eviction as u32,
        collapse_gap: options.collapse_gap.0,
        batch: options.batch,
        read_ahead: options.read_ahead.into(),
        verify: options.verify.into(),
    }
}

impl RippleOptions {
    /// As the kernel takes them.
    #[allow(clippy::needless_update, reason = "options that C does not set keep their default")]
    pub(crate) fn parse(&self) -> Result<Options, RippleStatus> {
        Ok(Options {
            context: self.context,
            kv: match self.kv {
                RIPPLE_KV_F16 => KvKind::F16,
                RIPPLE_KV_Q8 => KvKind::Q8,
                _ => return Err(RippleStatus::Argument),
            },
            staging: BlockCount(self.staging_blocks),
            page_buffer: BlockCount(self.page_buffer_blocks),
            cache_bytes: self.cache_bytes,
            hot_permille: self.hot_permille,
            admission: Admission {
                long_run: self.admission_long_run,
                one_in: self.admission_one_in,
            },
            eviction: match self.eviction {
                RIPPLE_EVICTION_S3_FIFO => Eviction::S3Fifo,
                RIPPLE_EVICTION_LRU => Eviction::Lru,
                _ => return Err(RippleStatus::Argument),
            },
            collapse_gap: BlockCount(self.collapse_gap),
            batch: self.batch,
            read_ahead: flag(self.read_ahead)?,
            verify: flag(self.verify)?,
            ..Options::DEFAULT
        })
    }
}

/// Says in `plan` what a model needs.
///
/// `front`: the first bytes of the image, its header among them; the first 16 KiB are always enough.
/// Errors: `_ARGUMENT`, `_NOT_AN_IMAGE`, `_VERSION`, `_HEADER_LENGTH`, `_UNSUPPORTED`,
/// `_MISSING_FEATURE`, `_DAMAGED`.
///
/// # Safety
/// Pointers are null or good for what they are called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_plan(
    front: *const u8,
    front_bytes: usize,
    options: *const RippleOptions,
    plan: *mut RipplePlan,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe {
        values(front, front_bytes).and_then(|front| {
            let options = value(options)?.parse()?;
            let header = Header::parse(front).map_err(RippleStatus::from)?;
            let needed = MemoryPlan::for_model(&header.geometry, &options);
            let bytes = |region| needed.region_bytes(region);
            let needed = RipplePlan {
                work: bytes(Region::Work),
                staging: bytes(Region::Staging),
                cache: bytes(Region::Cache),
                index: bytes(Region::Index),
                kv: bytes(Region::Kv),
            };
            write(plan, needed)
        })
    })
}

/// Divides one piece of memory into the regions of `plan`, staging first.
///
/// `start`: a multiple of `RIPPLE_STAGING_ALIGNMENT`. Errors: `_ARGUMENT`, `_MEMORY`.
///
/// # Safety
/// Pointers are null or good for what they are called; the memory itself is not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_divide(
    plan: *const RipplePlan,
    start: *mut c_void,
    bytes: usize,
    memory: *mut RippleMemory,
) -> RippleStatus {
    // SAFETY: as promised.
    RippleStatus::of(unsafe { value(plan) }.and_then(|plan| {
        let mut rest = RippleRegion { start, bytes };
        let mut take = |bytes: usize| -> Result<RippleRegion, RippleStatus> {
            let left = rest.bytes.checked_sub(bytes).ok_or(RippleStatus::Memory)?;
            let taken = RippleRegion { start: rest.start, bytes };
            rest = RippleRegion { start: rest.start.wrapping_byte_add(bytes), bytes: left };
            Ok(taken)
        };
        let staging = take(plan.staging)?;
        let divided = RippleMemory {
            staging,
            work: take(plan.work)?,
            cache: take(plan.cache)?,
            index: take(plan.index)?,
            kv: take(plan.kv)?,
        };
        // SAFETY: as promised.
        unsafe { write(memory, divided) }
    }))
}

impl RippleRegion {
    /// Its whole values.
    ///
    /// # Safety
    /// Nothing else uses it from now on.
    unsafe fn lend<T>(self) -> Result<&'static mut [T], RippleStatus> {
        // SAFETY: as promised.
        unsafe { values_mut(self.start.cast::<T>(), self.bytes / size_of::<T>()) }
    }
}

impl RippleMemory {
    /// As the kernel takes it.
    ///
    /// # Safety
    /// Nothing else uses the regions from now on, and they do not overlap.
    pub(crate) unsafe fn lend(&self) -> Result<Memory<'static>, RippleStatus> {
        // SAFETY: as promised; every bit pattern is a word, or a block.
        unsafe {
            Ok(Memory {
                work: self.work.lend()?,
                staging: self.staging.lend()?,
                cache: self.cache.lend()?,
                index: self.index.lend()?,
                kv: self.kv.lend()?,
            })
        }
    }
}
