//! The decoder: opens an image, then turns tokens into logits, one or more positions a pass.
//!
//! In: a device with an image on it, lent memory. Out: logits. A failed pass leaves the position
//! where it was and can be repeated; what the cache holds never changes a result.

mod context;
pub mod error;
mod pass;
pub mod replay;
pub mod speculate;
mod spill;

pub use context::{RestoreError, SlideError};
pub use pass::Pass;
pub use spill::SpillError;

#[cfg(feature = "adapters")]
use crate::adapter::{Adapter, AdapterError};
use crate::decode::error::OpenError;
use crate::image::{Header, Image, ImageError, SectionKind};
use crate::layer::spilled::Spilled;
use crate::layer::{Chunk, load_floats};
use crate::memory::cache::{self, Cache};
use crate::memory::kv::KvCache;
use crate::memory::region::{MemoryError, Region, reported};
use crate::memory::{Memory, MemoryPlan, Options, RunState};
use crate::read::fetch::Io;
use crate::read::fronts::{Fronts, Held};
use crate::read::probe::{Probe, Stage};
use crate::slices::{front_mut, split_mut};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx};

/// Bytes of a region: lent, and the most that was ever used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Usage {
    /// Which.
    pub region: Region,
    /// Bytes the plan gave it.
    pub planned: u32,
    /// High-water mark.
    pub peak: u32,
}

/// A model, open and running.
pub struct Decoder<'m, D: BlockDevice, P = ()> {
    device: D,
    probe: P,
    image: Image<'m>,
    options: Options,
    plan: MemoryPlan,
    state: RunState<'m>,
    /// Two halves.
    staging: &'m mut [Block],
    /// What pages are read into together.
    page_buffer: &'m mut [Block],
    fronts: Held,
    cache: Cache<'m>,
    kv: KvCache<'m>,
    /// What reads positions from the card, while some are there.
    spilled: Option<Spilled<D, P>>,
    #[cfg(feature = "adapters")]
    adapter: Option<Adapter<'m>>,
    position: u32,
    peak_staging: u32,
    peak_position: u32,
}

impl<'m, D: BlockDevice, P: Probe> Decoder<'m, D, P> {
    /// Opens the image that starts at block 0 of `device`.
    ///
    /// `mapped`: the first bytes of the same image, where they can be addressed as memory (flash,
    /// PSRAM, RAM); used in place, never read from the device. May be empty.
    ///
    /// Reads the header, checks it and `mapped`, checks and carves `memory`, and fills the hot
    /// prefix of the cache.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        mut device: D,
        mapped: &'m [u8],
        memory: Memory<'m>,
        options: &Options,
        mut probe: P,
    ) -> Result<Self, OpenError<D::Error>> {
        let image = open_image(&mut device, mapped, memory.staging)?;
        let geometry = image.header.geometry;
        let plan = MemoryPlan::for_model(&geometry, options);
        plan.check(&memory).map_err(OpenError::Memory)?;
        if options.verify {
            image.verify_mapped().map_err(OpenError::Image)?;
        }

        let Memory { work, staging, cache, index, kv } = memory;
        let page_buffer = options.page_buffer_of(&geometry).0 as usize;
        let staging = front_mut(staging, plan.staging);
        let (staging, page_buffer) = split_mut(staging, plan.staging - page_buffer);
        let bytes = Block::bytes(staging);
        let shape = cache::Shape::of(&geometry);
        let cache = Cache::carve(
            front_mut(cache, plan.cache),
            index,
            &shape,
            shape.frames(options.cache_bytes),
            options.policy(),
            |layer| {
                // A layer that is mapped needs no prefix.
                let mapped = image.table(SectionKind::Ffn, layer).mapped_records > 0;
                if mapped { 0 } else { Header::layer_info(bytes, layer).hot }
            },
        )
        .map_err(OpenError::Memory)?;
        let state =
            RunState::carve(work, plan.work, &geometry, options).map_err(OpenError::Memory)?;
        let context = options.context_of(&geometry.config);
        let kv = KvCache::new(kv, options.kv, &geometry.config, context);
        probe.enter(Stage::Open, 0);
        let mut decoder = Self {
            device,
            probe,
            image,
            options: *options,
            plan,
            state,
            staging,
            page_buffer,
            fronts: Held::default(),
            cache,
            kv,
            spilled: None,
            #[cfg(feature = "adapters")]
            adapter: None,
            position: 0,
            peak_staging: 0,
            peak_position: 0,
        };
        decoder.load_final_vectors()?;
        decoder.fill_hot_prefix()?;
        Ok(decoder)
    }

    /// Goes back to an earlier position; a later one changes nothing. What the cache holds stays.
    ///
    /// To 0 where that position has [gone to the card](Self::spill): feed the text again.
    pub fn rewind(&mut self, position: u32) {
        self.position = self.position.min(position);
        if self.position < self.kv.spilled() {
            self.position = 0;
            self.kv.empty();
            self.spilled = None;
        }
    }

    /// Forgets the dynamic part of the neuron cache, as after power-on.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// Positions fed so far.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Positions it can hold.
    pub fn context(&self) -> u32 {
        self.kv.context() + self.options.spill_of(&self.image.header.geometry.config)
    }

    /// Positions that can be fed before the KV cache in memory is full.
    pub fn room(&self) -> u32 {
        self.end().saturating_sub(self.position)
    }

    /// Positions below this fit.
    fn end(&self) -> u32 {
        self.context().min(self.kv.spilled() + self.kv.context())
    }

    /// What the image holds.
    pub fn header(&self) -> &Header {
        &self.image.header
    }

    /// The image: header, and the sections that are mapped (the tokenizer, usually).
    pub fn image(&self) -> &Image<'m> {
        &self.image
    }

    /// The observer.
    pub fn probe_mut(&mut self) -> &mut P {
        &mut self.probe
    }

    /// The device, between steps: to log to the card the model is read from.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Memory by region, as planned.
    pub fn plan(&self) -> MemoryPlan {
        self.plan
    }

    /// Changes when neighbouring reads are merged; no result changes with it.
    pub fn set_collapse_gap(&mut self, gap: BlockCount) {
        self.options.collapse_gap = gap;
    }

    /// Adds `adapter` beside the matrices of attention from now on, or nothing. What is kept of positions
    /// that were fed before stays as it was: [`rewind`](Self::rewind) to 0 to begin anew.
    ///
    /// # Errors
    /// [`AdapterError::Field`] where the model has a [`Variant`](crate::config::Variant), where there are too few or too many numbers, or too little scratch for
    /// [`batch`](Self::batch) positions; nothing has changed then.
    #[cfg(feature = "adapters")]
    pub fn set_adapter(&mut self, adapter: Option<Adapter<'m>>) -> Result<(), AdapterError> {
        if let Some(Adapter { shape, numbers, inner }) = &adapter {
            let needed = shape.numbers(&self.image.header.geometry.config);
            let scratch = self.batch() as usize * shape.rank as usize;
            let wrong = |field, expected, found| {
                let (expected, found) = (reported(expected), reported(found));
                Err(AdapterError::Field { field, expected, found })
            };
            // What joins the residual stream in another way joins it here alone.
            if self.image.header.geometry.config.variant().any() {
                return wrong("variant", 0, 1);
            }
            if numbers.len() != needed {
                return wrong("numbers", needed, numbers.len());
            }
            if inner.len() < scratch {
                return wrong("inner", scratch, inner.len());
            }
        }
        self.adapter = adapter;
        Ok(())
    }

    /// Slots of each layer below this are in the hot prefix.
    pub fn hot(&self, layer: u32) -> u32 {
        self.cache.hot(layer)
    }

    /// How much of each region was ever used.
    pub fn usage(&self) -> [Usage; 5] {
        let geometry = &self.image.header.geometry;
        Region::ALL.map(|region| {
            let planned = reported(self.plan.region_bytes(region));
            let peak = match region {
                Region::Work | Region::Index => planned,
                Region::Staging => self.peak_staging.saturating_mul(BLOCK_BYTES as u32),
                Region::Cache => self.cache.held() * geometry.bundle_layout().stride(),
                Region::Kv => {
                    let most = self.peak_position.min(self.kv.context());
                    self.kv.bytes(geometry.config.layers, most)
                }
            };
            Usage { region, planned, peak }
        })
    }

    /// What the caller lends to reading, and what a layer works on in a pass of `count` positions.
    fn parts(&mut self, count: usize) -> (Io<'_, D, P>, Chunk<'_, 'm, D, P>) {
        // Pages were made for what the hot prefix misses; a large dynamic part leaves little of it.
        let read_ahead = self.options.read_ahead && self.cache.is_mostly_hot();
        // Attention reads: the device is not free for the FFN then.
        let read_ahead = read_ahead && self.spilled.is_none();
        let page_buffer = BlockCount(self.page_buffer.len() as u32);
        let io = Io {
            device: &mut self.device,
            staging: self.staging,
            fronts: Fronts { blocks: self.page_buffer, held: &mut self.fronts },
            probe: &mut self.probe,
            gap: self.options.collapse_gap,
            peak: &mut self.peak_staging,
        };
        let chunk = Chunk {
            image: &self.image,
            state: &mut self.state,
            kv: &mut self.kv,
            spilled: self.spilled.as_ref(),
            cache: &mut self.cache,
            #[cfg(feature = "adapters")]
            adapter: self.adapter.as_mut(),
            count,
            page_buffer,
            read_ahead,
        };
        (io, chunk)
    }

    fn load_final_vectors(&mut self) -> Result<(), OpenError<D::Error>> {
        let (mut io, chunk) = self.parts(0);
        let table = chunk.image.table(SectionKind::FinalVectors, 0);
        load_floats(&mut io.records(), Stage::Open, &table, chunk.state.final_vectors)?;
        Ok(())
    }

    fn fill_hot_prefix(&mut self) -> Result<(), OpenError<D::Error>> {
        for layer in 0..self.image.header.geometry.config.layers {
            let (mut io, chunk) = self.parts(0);
            let mut records = io.records();
            let (image, cache) = (chunk.image, chunk.cache);
            let table = image.table(SectionKind::Ffn, layer);
            records.for_each(
                Stage::Open,
                &table,
                0..cache.hot(layer),
                &mut |_, slot, record| {
                    if let Some(out) = cache.hot_mut(layer, slot) {
                        record.copy_to(out);
                    }
                },
            )?;
        }
        Ok(())
    }
}

/// Opens the image that starts at block 0 of `device`, of which `mapped` are the first bytes, or none: for
/// a [`Decoder`], or for what else works on its records with a [`Reader`](crate::read::reader::Reader).
///
/// The header is read into the front of `staging`, and stays there until something else is. What is mapped
/// is not checked: [`Image::verify_mapped`] does.
///
/// # Errors
/// See [`OpenError`]: any but [`OpenError::Corrupt`].
pub fn open_image<'m, D: BlockDevice>(
    device: &mut D,
    mapped: &'m [u8],
    staging: &mut [Block],
) -> Result<Image<'m>, OpenError<D::Error>> {
    Ok(Image::new(read_header(device, mapped, staging)?, mapped))
}

/// Reads the header into the front of `staging`, where it stays until the first fetch.
fn read_header<D: BlockDevice>(
    device: &mut D,
    mapped: &[u8],
    staging: &mut [Block],
) -> Result<Header, OpenError<D::Error>> {
    const MOST_BYTES: u32 = Header::most_bytes(256);
    const MOST: usize = MOST_BYTES.div_ceil(BLOCK_BYTES as u32) as usize;
    let room = staging.len();
    let given = reported(size_of_val(staging));
    let start = BlockIdx(0);
    let device_error = |source| OpenError::Device { at: start, source };
    let found = device.block_count().map_err(device_error)?;
    let blocks = room.min(MOST).min(found.0 as usize);
    let first = front_mut(staging, blocks);
    device.read(start, first).map_err(device_error)?;
    let bytes = Block::bytes(first);
    let header = Header::parse(bytes).map_err(|error| match error {
        // A header that goes on beyond the blocks there was room for.
        ImageError::HeaderLength { needed, .. }
            if blocks == room && needed > given && needed <= MOST_BYTES =>
        {
            OpenError::Memory(MemoryError { region: Region::Staging, needed, given })
        }
        error => OpenError::Image(error),
    })?;
    if found < header.blocks {
        return Err(OpenError::Image(ImageError::Truncated { needed: header.blocks, found }));
    }
    let header_bytes = header.bytes as usize;
    let differs = |(at, (a, b)): (usize, (&u8, &u8))| (a != b).then_some(at);
    let there = bytes.get(..header_bytes).unwrap_or(&[]);
    if let Some(at) = there.iter().zip(mapped).enumerate().find_map(differs) {
        return Err(OpenError::MappedDiffers { at: BlockIdx((at / BLOCK_BYTES) as u32) });
    }
    Ok(header)
}
