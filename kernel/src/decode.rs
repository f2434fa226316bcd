//! The decoder: opens an image, then turns tokens into logits, one position at a time.
//!
//! In: a device with an image on it, lent memory. Out: logits. A failed step leaves the position
//! where it was and can be repeated; what the cache holds never changes a result.

use crate::cache::{self, Cache};
use crate::config::Position;
use crate::error::{OpenError, StepError};
use crate::fetch::{Corrupt, Io, at_slot};
use crate::image::{Header, Image, ImageError, SectionKind};
use crate::kv::KvCache;
use crate::layer::{self, Pass, load_floats, normalise, put};
use crate::math::{quant, rope};
use crate::memory::{Memory, MemoryPlan, Options, RunState};
use crate::plan::collapse;
use crate::probe::{Probe, Stage};
use crate::region::{MemoryError, Region, reported};
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
pub struct Decoder<'m, D, P = ()> {
    device: D,
    probe: P,
    image: Image<'m>,
    options: Options,
    plan: MemoryPlan,
    state: RunState<'m>,
    staging: &'m mut [Block],
    cache: Cache<'m>,
    kv: KvCache<'m>,
    position: u32,
    /// The layer that comes next, in a step that has begun.
    next_layer: Option<u32>,
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
        let header = read_header(&mut device, mapped, memory.staging)?;
        let geometry = header.geometry;
        let plan = MemoryPlan::for_model(&geometry, options);
        plan.check(&memory).map_err(OpenError::Memory)?;
        let image = Image::new(header, mapped);
        if options.verify {
            image.verify_mapped().map_err(OpenError::Image)?;
        }

        let Memory { work, staging, cache, index, kv } = memory;
        let staging = staging.get_mut(..plan.staging).unwrap_or_default();
        let bytes = Block::bytes(staging);
        let shape = cache::Shape::of(&geometry);
        let cache = Cache::carve(
            cache.get_mut(..plan.cache).unwrap_or_default(),
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
        let state = RunState::carve(work, &geometry, options).map_err(OpenError::Memory)?;
        let context = options.context.min(geometry.config.context);
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
            cache,
            kv,
            position: 0,
            next_layer: None,
            peak_staging: 0,
            peak_position: 0,
        };
        decoder.load_final_vectors()?;
        decoder.fill_hot_prefix()?;
        Ok(decoder)
    }

    /// Feeds `token` at the current position and returns the logits of the next one, `(vocab,)`.
    ///
    /// # Errors
    /// See [`StepError`]. The position is then unchanged and the step can be repeated.
    pub fn step(&mut self, token: u32) -> Result<&mut [f32], StepError<D::Error>> {
        self.begin(token)?;
        while self.forward_layer()? {}
        self.compute_logits()?;
        self.commit();
        Ok(self.state.logits)
    }

    /// Feeds `token` without computing logits: for all but the last token of a prompt.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn advance(&mut self, token: u32) -> Result<(), StepError<D::Error>> {
        self.begin(token)?;
        while self.forward_layer()? {}
        self.commit();
        Ok(())
    }

    /// Begins a step that the caller wants to interrupt between layers: then call
    /// [`forward_layer`](Self::forward_layer) until it gives `false`, then [`logits`](Self::logits)
    /// or [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`step`](Self::step). A step that was begun before and not finished is forgotten.
    pub fn begin(&mut self, token: u32) -> Result<(), StepError<D::Error>> {
        self.next_layer = None;
        let config = self.image.header.geometry.config;
        if token >= config.vocab {
            return Err(StepError::UnknownToken { token, vocab: config.vocab });
        }
        if self.position >= self.kv.context() {
            return Err(StepError::ContextFull { context: self.kv.context() });
        }
        self.probe.enter(Stage::Embedding, 0);
        let (mut io, pass) = self.parts();
        let (image, position, state) = (pass.image, pass.position, pass.state);
        let x = &mut *state.x;
        let embedding = image.table(SectionKind::Embedding, 0);
        io.for_each(Stage::Embedding, &embedding, token..token + 1, |_, _, row| {
            let scale = row.scale(0);
            for (x, &w) in x.iter_mut().zip(row.row(0)) {
                *x = f32::from(w) * scale;
            }
        })?;
        let index = image.table(SectionKind::PageIndex, 0);
        if index.count > 0 {
            let pages = &mut *state.pages;
            io.for_each(Stage::Embedding, &index, token..token + 1, |_, _, record| {
                for (page, word) in pages.iter_mut().zip(record.words(0)) {
                    *page = u32::from_le_bytes(*word);
                }
            })?;
        }
        match config.position {
            Position::Rope => {
                let at = state.final_vectors.len().saturating_sub(state.cos.len());
                let frequencies = state.final_vectors.get(at..).unwrap_or(&[]);
                rope::angles(state.cos, state.sin, frequencies, position);
            }
            Position::Learned => {
                let positions = image.table(SectionKind::Positions, 0);
                io.for_each(Stage::Embedding, &positions, position..position + 1, |_, _, row| {
                    let scale = row.scale(0);
                    for (x, &w) in x.iter_mut().zip(row.row(0)) {
                        *x += f32::from(w) * scale;
                    }
                })?;
            }
        }
        self.next_layer = Some(0);
        Ok(())
    }

    /// Runs one layer of the step that has begun; `false` when there was none left.
    ///
    /// # Errors
    /// As [`step`](Self::step). The step must then be begun again.
    pub fn forward_layer(&mut self) -> Result<bool, StepError<D::Error>> {
        let Some(layer) = self.next_layer.take() else { return Ok(false) };
        if layer >= self.image.header.geometry.config.layers {
            self.next_layer = Some(layer);
            return Ok(false);
        }
        let (mut io, mut pass) = self.parts();
        layer::forward(&mut io, &mut pass, layer)?;
        self.next_layer = Some(layer + 1);
        Ok(true)
    }

    /// The logits of the step whose layers have all run, `(vocab,)`; ends the step.
    ///
    /// # Errors
    /// As [`step`](Self::step), after which they can be asked for again; and
    /// [`StepError::Unfinished`].
    pub fn logits(&mut self) -> Result<&mut [f32], StepError<D::Error>> {
        let layers = self.image.header.geometry.config.layers;
        let run = self.next_layer.unwrap_or(0);
        if run < layers {
            return Err(StepError::Unfinished { run, layers });
        }
        self.compute_logits()?;
        self.commit();
        Ok(self.state.logits)
    }

    /// Ends a step whose layers have all run, without logits. Does nothing in any other state.
    pub fn commit(&mut self) {
        if self.next_layer.take() == Some(self.image.header.geometry.config.layers) {
            self.position += 1;
            self.peak_position = self.peak_position.max(self.position);
        }
    }

    /// Goes back to an earlier position; a later one changes nothing. What the cache holds stays.
    pub fn rewind(&mut self, position: u32) {
        self.next_layer = None;
        self.position = self.position.min(position);
    }

    /// Forgets the dynamic part of the neuron cache, as after power-on.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// Positions fed so far.
    pub fn position(&self) -> u32 {
        self.position
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

    /// Changes when neighbouring reads are merged; no result changes with it.
    pub fn set_collapse_gap(&mut self, gap: BlockCount) {
        self.options.collapse.gap = gap;
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
                Region::Kv => self.kv.bytes(geometry.config.layers, self.peak_position),
            };
            Usage { region, planned, peak }
        })
    }

    /// What the caller lends to reading, and what a layer works on.
    fn parts(&mut self) -> (Io<'_, D, P>, Pass<'_, 'm>) {
        let io = Io {
            device: &mut self.device,
            staging: self.staging,
            probe: &mut self.probe,
            collapse: self.options.collapse,
            peak: &mut self.peak_staging,
        };
        let pass = Pass {
            image: &self.image,
            state: &mut self.state,
            kv: &mut self.kv,
            cache: &mut self.cache,
            position: self.position,
        };
        (io, pass)
    }

    fn compute_logits(&mut self) -> Result<(), StepError<D::Error>> {
        let geometry = self.image.header.geometry;
        let config = &geometry.config;
        self.probe.enter(Stage::Head, 0);
        let (mut io, pass) = self.parts();
        let (image, state) = (pass.image, pass.state);
        let dim = config.dim as usize;
        let xb = state.xb.get_mut(..dim).unwrap_or_default();
        normalise(xb, state.x, state.final_vectors, 0, &geometry);
        let quantised = state.quantised.get_mut(..dim).unwrap_or_default();
        let scale = quant::quantise(xb, quantised);
        let logits = &mut *state.logits;
        let kind = if config.tied_head { SectionKind::Embedding } else { SectionKind::Head };
        let table = image.table(kind, 0);
        io.gemv(Stage::Head, &table, quantised, scale, |i, y| put(logits, i, y))?;
        Ok(())
    }

    fn load_final_vectors(&mut self) -> Result<(), OpenError<D::Error>> {
        let (mut io, pass) = self.parts();
        let table = pass.image.table(SectionKind::FinalVectors, 0);
        load_floats(&mut io, Stage::Open, &table, pass.state.final_vectors)?;
        Ok(())
    }

    fn fill_hot_prefix(&mut self) -> Result<(), OpenError<D::Error>> {
        for layer in 0..self.image.header.geometry.config.layers {
            let (mut io, pass) = self.parts();
            let (image, cache) = (pass.image, pass.cache);
            let table = image.table(SectionKind::Ffn, layer);
            let stride = table.layout.stride();
            let extents = collapse(0..cache.hot(layer), stride, BlockCount(0), io.half());
            io.fetch(Stage::Open, table.start, extents, |_, arrived| {
                let Some((extent, bytes)) = arrived else { return Ok(()) };
                for slot in extent.first_slot..extent.first_slot + extent.wanted {
                    let record = at_slot(bytes, slot, stride, extent.start)
                        .and_then(|bytes| table.arrived(slot, bytes))
                        .ok_or(Corrupt { slot })?;
                    if let Some(out) = cache.hot_mut(layer, slot) {
                        record.copy_to(out);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Reads the header into the front of `staging`, where it stays until the first fetch.
fn read_header<D: BlockDevice>(
    device: &mut D,
    mapped: &[u8],
    staging: &mut [Block],
) -> Result<Header, OpenError<D::Error>> {
    const MOST_BYTES: u32 = Header::bytes(256);
    const MOST: usize = MOST_BYTES.div_ceil(BLOCK_BYTES as u32) as usize;
    let room = staging.len();
    let given = reported(size_of_val(staging));
    let start = BlockIdx(0);
    let device_error = |source| OpenError::Device { at: start, source };
    let found = device.block_count().map_err(device_error)?;
    let blocks = room.min(MOST).min(found.0 as usize);
    let first = staging.get_mut(..blocks).unwrap_or_default();
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
    let header_bytes = Header::bytes(header.geometry.config.layers) as usize;
    let differs = |(at, (a, b)): (usize, (&u8, &u8))| (a != b).then_some(at);
    let there = bytes.get(..header_bytes).unwrap_or(&[]);
    if let Some(at) = there.iter().zip(mapped).enumerate().find_map(differs) {
        return Err(OpenError::MappedDiffers { at: BlockIdx((at / BLOCK_BYTES) as u32) });
    }
    Ok(header)
}
