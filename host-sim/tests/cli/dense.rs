//! The dense baseline: what streaming every weight costs, against the sizes of the sections.

use ripple_hal::BlockCount;
use ripple_host_sim::cost::Preset;
use ripple_host_sim::import::demo;
use ripple_host_sim::machine::{Core, Dense, ImageBytes, Machine, Mapped, header};
use ripple_host_sim::model::Model;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::run::generate::{Overflow, Request, generate};
use ripple_host_sim::run::report::report;
use ripple_kernel::image::Image;
use ripple_kernel::image::SectionKind::{self, *};
use ripple_kernel::text::sample::SamplerOptions;
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::{Activation, Options};

/// Staging that any table fits, so that each part of a section is one read.
const WIDE: BlockCount = BlockCount(1 << 16);

fn image(name: &str, choice: &PredictorChoice) -> Vec<u8> {
    let model = Model::load(&demo::path(name).unwrap()).unwrap();
    let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
    pack(&model, &Placement::identity(&model.name, layers, neurons), choice, &[]).unwrap()
}

fn machine(mapped: Mapped, cache_bytes: u32) -> Machine {
    let options = Options { staging: WIDE, cache_bytes, ..Options::DEFAULT };
    let preset = Preset::by_name("uhs-sdr104").unwrap();
    Machine { preset, core: Core::CortexM7, mapped, stays_open: false, options }
}

/// Every block of the sections, once.
fn whole(image: &[u8], kinds: &[SectionKind]) -> Dense {
    let header = header(image).unwrap();
    let timing = Preset::by_name("uhs-sdr104").unwrap().timing();
    let mut dense = Dense::default();
    for &kind in kinds {
        let bytes = header.section(kind).part.bytes();
        let parts = f64::from(header.parts(kind));
        dense.reads += parts;
        dense.bytes += parts * bytes as f64;
        dense.io_ns += parts * timing.cost_ps(bytes) as f64 / 1000.0;
    }
    dense
}

#[track_caller]
fn same(a: Dense, b: Dense) {
    assert_eq!((a.reads, a.bytes), (b.reads, b.bytes));
    assert!((a.io_ns - b.io_ns).abs() < 1.0, "{} ns, {} ns", a.io_ns, b.io_ns);
}

#[test]
fn unmapped_every_section_with_weights_is_read_once() {
    let exact = image("story-nano", &PredictorChoice::Exact);
    let body = [LayerVectors, Predictor, Qkv, Output, Ffn];
    let none = machine(Mapped::None, 0);
    same(none.dense(&exact, 0.0).unwrap(), whole(&exact, &body));
    // The tied head is the embedding.
    let with_head = whole(&exact, &[&body[..], &[Embedding]].concat());
    same(none.dense(&exact, 1.0).unwrap(), with_head);
}

#[test]
fn full_bundles_hold_the_predictors_rows_already() {
    let full = image("story-nano", &PredictorChoice::ExactFullBundles);
    let body = [LayerVectors, Qkv, Output, Embedding, Ffn];
    same(machine(Mapped::None, 0).dense(&full, 1.0).unwrap(), whole(&full, &body));
}

#[test]
fn reads_that_go_on_are_one_command() {
    let exact = image("story-nano", &PredictorChoice::Exact);
    let machine = Machine { stays_open: true, ..machine(Mapped::Dense, 0) };
    let ffn = whole(&exact, &[Ffn]);
    let found = machine.dense(&exact, 0.0).unwrap();
    assert!(ffn.reads > 1.0 && found.reads == 1.0, "{found:?}");
    let io_ns = machine.preset.timing().cost_ps(ffn.bytes as u64) as f64 / 1000.0;
    same(found, Dense { reads: 1.0, io_ns, ..ffn });
}

#[test]
fn what_is_mapped_is_not_read() {
    let exact = image("story-nano", &PredictorChoice::Exact);
    let dense = machine(Mapped::Dense, 0).dense(&exact, 1.0).unwrap();
    same(dense, whole(&exact, &[Ffn]));
    same(machine(Mapped::All, 0).dense(&exact, 1.0).unwrap(), Dense::default());
}

#[test]
fn the_dense_engine_holds_as_many_bundles_as_the_cache() {
    let exact = image("story-nano", &PredictorChoice::Exact);
    let shape = header(&exact).unwrap().geometry;
    let (neurons, layers) = (shape.config.neurons, shape.config.layers);
    let layer = neurons * shape.bundle_layout().stride();
    // Two layers are held, the others are read.
    let dense = machine(Mapped::Dense, 2 * layer).dense(&exact, 1.0).unwrap();
    let all = whole(&exact, &[Ffn]);
    let share = f64::from(layers - 2) / f64::from(layers);
    assert_eq!((dense.reads, dense.bytes), (all.reads * share, all.bytes * share));
    same(machine(Mapped::Dense, layers * layer).dense(&exact, 1.0).unwrap(), Dense::default());
}

#[test]
fn where_nothing_is_sparse_dense_is_the_same() {
    let mut model = Model::load(&demo::path("story-nano").unwrap()).unwrap();
    // Never exactly 0: every neuron is active for every token.
    model.config.activation = Activation::Silu;
    let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
    let placement = Placement::identity(&model.name, layers, neurons);
    let image: ImageBytes = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap().into();
    let mut machine = machine(Mapped::None, 0);
    machine.options.batch = 32;
    let header = header(&image).unwrap();
    let mut memory = machine.memory(&image, &header).unwrap();
    let mut decoder = machine.open(&image, &mut memory).unwrap();
    let tokenizer = Tokenizer::parse(Image::new(header, &image).tokenizer().unwrap()).unwrap();
    decoder.probe_mut().reset();
    decoder.device_mut().take_stats();
    let request = Request {
        prompt: "Once upon a time there was a little dog. ".repeat(8),
        chat: None,
        tokens: 8,
        sampler: SamplerOptions::GREEDY,
        speculate: 0,
        stop: Vec::new(),
        overflow: Overflow::Stop,
        ignore_eos: false,
    };
    let generated = generate(&mut decoder, &tokenizer, &request, |_| (), |_, _, _| ()).unwrap();
    assert!(
        generated.prompt.len() > 64,
        "{}: the prompt takes several passes",
        generated.prompt.len()
    );
    let report = report(&mut decoder, &machine, &image, generated.fed()).unwrap();
    let times = report.dense.bytes / report.bytes_per_token;
    assert!((0.98..1.02).contains(&times), "dense reads {times} times as much");
}
