//! The path of the FFN's bundles alone: cache, plan and fetch, without a model's arithmetic.
//!
//! In: active sets, as a trace holds them. Out: the reads that a decoder would make for them, as
//! its device and its probe see them. What arrives is not looked at, so the device need not hold a
//! model. Benches replay policies through it that a decoder would run token by token.

use crate::decode::error::StepError;
use crate::image::{Page, Quant, RecordLayout};
use crate::memory::cache::{Cache, Shape};
use crate::memory::region::{Carver, MemoryError, Region, words};
use crate::memory::{Memory, MemoryPlan, Options};
use crate::read::fetch::Io;
use crate::read::fronts::{Fronts, Held};
use crate::read::misses::Wanted;
use crate::read::probe::{Probe, Stage};
use crate::read::visit::visit;
use crate::read::visitor::{Bytes, Found, Source};
use crate::slices::{front_mut, split_mut};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx};

/// The bundles that are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundles {
    /// Layers.
    pub layers: u32,
    /// Neurons of a layer.
    pub neurons: u32,
    /// Bytes from one bundle to the next, a multiple of 4 and at least 8.
    pub stride: u32,
    /// Multiply-accumulates that a bundle is used for.
    pub work: u32,
}

impl Bundles {
    fn shape(&self) -> Shape {
        let cols = self.stride.saturating_sub(4);
        let layout = RecordLayout { quant: Quant::Q8, rows: 1, cols, bias: false };
        Shape { layers: self.layers, neurons: self.neurons, layout }
    }

    /// Blocks of one layer; each starts on a block boundary.
    pub fn layer_blocks(&self) -> BlockCount {
        BlockCount::for_bytes(u64::from(self.neurons) * u64::from(self.stride))
    }

    /// The memory that [`Replay::new`] needs; no bundle is ever kept, so the cache takes none.
    pub fn plan(&self, options: &Options) -> MemoryPlan {
        let shape = self.shape();
        let longest = self.stride.div_ceil(BLOCK_BYTES as u32) + 1;
        MemoryPlan {
            work: words(self.neurons, 4),
            staging: (2 * (options.staging.0 / 2).max(longest) + options.page_buffer.0) as usize,
            cache: 0,
            index: shape.index_words(shape.frames(options.cache_bytes)),
            kv: 0,
        }
    }
}

/// See the [module](self).
pub struct Replay<'m, D, P> {
    device: D,
    probe: P,
    bundles: Bundles,
    options: Options,
    staging: &'m mut [Block],
    page_buffer: &'m mut [Block],
    fronts: Held,
    cache: Cache<'m>,
    misses: &'m mut [u32],
    peak_staging: u32,
}

impl<'m, D: BlockDevice, P: Probe> Replay<'m, D, P> {
    /// A replay on `device`, where the bundles of layer `l` start at block `l * layer_blocks`.
    ///
    /// `hot`: how many of the first slots of a layer the hot prefix would best hold; as in a
    /// decoder it gets what fits. Filling it costs nothing here.
    ///
    /// # Errors
    /// The first region of `memory` that is smaller than [`Bundles::plan`].
    pub fn new(
        device: D,
        bundles: Bundles,
        memory: Memory<'m>,
        options: &Options,
        hot: impl Fn(u32) -> u32,
        probe: P,
    ) -> Result<Self, MemoryError> {
        let plan = bundles.plan(options);
        plan.check(&memory)?;
        let Memory { work, staging, index, .. } = memory;
        let shape = bundles.shape();
        let frames = shape.frames(options.cache_bytes);
        let cache = Cache::carve(&mut [], index, &shape, frames, options.policy(), hot)?;
        let misses = Carver::new(Region::Work, work, plan.work)?.take(bundles.neurons);
        let halves = plan.staging - options.page_buffer.0 as usize;
        let (staging, page_buffer) = split_mut(front_mut(staging, plan.staging), halves);
        let (options, fronts) = (*options, Held::default());
        Ok(Self {
            device,
            probe,
            bundles,
            options,
            staging,
            page_buffer,
            fronts,
            cache,
            misses,
            peak_staging: 0,
        })
    }

    /// Brings the bundles `slots` (ascending) of `layer`; `page` holds copies of the likely ones.
    ///
    /// # Errors
    /// When the device fails.
    pub fn layer(
        &mut self,
        layer: u32,
        slots: &[u16],
        page: Option<Page>,
    ) -> Result<(), StepError<D::Error>> {
        let Bundles { stride, work, .. } = self.bundles;
        let mut io = Io {
            device: &mut self.device,
            staging: self.staging,
            fronts: Fronts { blocks: self.page_buffer, held: &mut self.fronts },
            probe: &mut self.probe,
            gap: self.options.collapse_gap,
            peak: &mut self.peak_staging,
        };
        io.probe.enter(Stage::Ffn, layer);
        let start = BlockIdx(layer.saturating_mul(self.bundles.layer_blocks().0));
        let source = Source { layer, start, stride, mapped: 0, page };
        let wanted = Wanted { slots, memory: self.misses };
        visit(&mut io, source, &mut self.cache, wanted, None, |probe, found: Found<'_>| {
            debug_assert!(!matches!(found.bytes, Bytes::Mapped));
            probe.compute(Stage::Ffn, work);
            Ok(())
        })?;
        Ok(())
    }

    /// Changes when neighbouring reads are merged.
    pub fn set_collapse_gap(&mut self, gap: BlockCount) {
        self.options.collapse_gap = gap;
    }

    /// The observer.
    pub fn probe_mut(&mut self) -> &mut P {
        &mut self.probe
    }

    /// The device.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}
