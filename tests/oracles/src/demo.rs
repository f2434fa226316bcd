//! Demo models on a device that counts.

use crate::spy::SpyDevice;
use ripple_hal::BlockCount;
use ripple_host_sim::import::demo;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::Model;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::{Decoder, MemoryPlan, Options};

/// An image, and what it is run with.
pub struct Demo {
    /// The model it was packed from.
    pub model: Model,
    /// Its bytes.
    pub image: Vec<u8>,
    /// Of these, all but the FFN.
    pub mapped: usize,
    /// A cache of a tenth of the FFN, the collapse gap of a UHS card.
    pub options: Options,
}

impl Demo {
    /// A demo model, packed as it is; `batch` positions a pass.
    pub fn new(name: &str, batch: u32) -> Self {
        let model = Model::load(&demo::path(name).unwrap()).unwrap();
        let c = &model.config;
        let placement = Placement::identity(name, c.layers as usize, c.neurons as usize);
        let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
        let header = Header::parse(&image).unwrap();
        let stride = header.geometry.bundle_layout().stride();
        let options = Options {
            cache_bytes: c.layers * c.neurons * stride / 10,
            collapse_gap: BlockCount(41),
            staging: BlockCount(64),
            batch,
            ..Options::DEFAULT
        };
        let mapped = header.section(SectionKind::Ffn).start.0 as usize * 512;
        Self { model, image, mapped, options }
    }

    /// What `run` gives, and the blocks that it reads.
    pub fn blocks<T>(
        &self,
        mapped: usize,
        run: impl FnOnce(&mut Decoder<'_, &mut SpyDevice<'_>, ()>) -> T,
    ) -> (T, u32) {
        let geometry = Header::parse(&self.image).unwrap().geometry;
        let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry, &self.options));
        let mut device = SpyDevice::new(&self.image);
        let mapped = &self.image[..mapped];
        let mut decoder =
            Decoder::open(&mut device, mapped, memory.lend(), &self.options, ()).unwrap();
        decoder.device_mut().reads.clear();
        let out = run(&mut decoder);
        (out, device.reads.iter().map(|(_, blocks)| blocks).sum())
    }
}
