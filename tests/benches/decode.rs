//! Tokens a second on one host core, everything mapped.
//!
//! `cargo bench -p ripple-tests --bench decode`; Criterion's `elem/s` is tokens a second.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ripple_hal::Slice;
use ripple_host_sim::import::demo;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::text::read_tokens;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, KvKind, MemoryPlan, Options};

/// Tokens of an iteration: half a context, so that attention is as long as it is on average.
const TOKENS: usize = 128;

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(20).throughput(Throughput::Elements(TOKENS as u64));
    for name in ["story-nano", "novel-small", "novel-opt", "novel-wide"] {
        let directory = demo::path(name).unwrap();
        let model = Model::load(&directory).unwrap();
        let config = &model.config;
        let tokens = read_tokens(&model, &directory.join("profile.txt")).unwrap();
        let placement = Placement::identity(name, config.layers as usize, config.neurons as usize);
        let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
        for kv in [KvKind::F16, KvKind::Q8] {
            let options = Options { context: config.context, kv, ..Options::DEFAULT };
            let geometry = Header::parse(&image).unwrap().geometry;
            let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry, &options));
            let device = Slice::new(&image);
            let mut decoder = Decoder::open(device, &image, memory.lend(), &options, ()).unwrap();
            group.bench_function(BenchmarkId::new(name, format!("{kv:?}")), |b| {
                b.iter(|| {
                    decoder.rewind(0);
                    for &token in &tokens[..TOKENS] {
                        decoder.step(token).unwrap();
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
