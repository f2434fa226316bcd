//! What the examples share: an image opened from a file, on a device and with a probe of their choice.

use ripple_hal::{BLOCK_BYTES, Block, BlockDevice};
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::text::sample::likeliest;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Decoder, Memory, MemoryPlan, Options, Probe};
use std::error::Error;
use std::fs::File;
use std::io::Read;

/// Opens the image in `path`, which `device` reads, all but its FFN mapped, and steps through `count`
/// tokens from the beginning of a text; returns them.
pub fn generate<D, P>(
    path: &str,
    device: D,
    probe: P,
    count: usize,
) -> Result<Vec<u32>, Box<dyn Error>>
where
    D: BlockDevice<Error: Error + 'static>,
    P: Probe,
{
    let mut front = Vec::new();
    File::open(path)?.take(64 * BLOCK_BYTES as u64).read_to_end(&mut front)?;
    let header = Header::parse(&front)?;
    front.clear();
    let mapped = u64::from(header.section(SectionKind::Ffn).start.0) * BLOCK_BYTES as u64;
    File::open(path)?.take(mapped).read_to_end(&mut front)?;

    let options = Options { cache_bytes: 16 * 1024, ..Options::DEFAULT };
    let plan = MemoryPlan::for_model(&header.geometry, &options);
    let (mut work, mut staging) = (vec![0; plan.work], vec![Block::ZERO; plan.staging]);
    let (mut cache, mut index) = (vec![0; plan.cache], vec![0; plan.index]);
    let mut kv = vec![0; plan.kv];
    let memory = Memory {
        work: &mut work,
        staging: &mut staging,
        cache: &mut cache,
        index: &mut index,
        kv: &mut kv,
    };

    let mut decoder = Decoder::open(device, &front, memory, &options, probe)?;
    let tokenizer = decoder.image().tokenizer().map(Tokenizer::parse).transpose()?;
    let mut token = tokenizer.and_then(|tokenizer| tokenizer.begin()).unwrap_or(0);
    (0..count.min(decoder.context() as usize))
        .map(|_| {
            token = likeliest(decoder.step(token)?);
            Ok(token)
        })
        .collect()
}
