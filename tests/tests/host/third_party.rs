//! Third-party models, which are not part of this project: greedy text as independent code writes it.
//!
//! Ignored: they need files. With them:
//!
//! ```sh
//! RIPPLE_STORIES260K=DIR RIPPLE_SMOLLM2=FILE.gguf cargo test --release -p ripple-tests --test host -- --ignored third_party
//! ```
//!
//! `DIR` holds llama2.c's `stories260K.bin` and `tok512.bin`; `tests/fetch-smollm2.sh` fetches the other.
//! The expected ids are those of `tests/reference/greedy.py`, which shares no code with this project.

use ripple_hal::Slice;
use ripple_host_sim::import::{self, import_dense};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::reference::Reference;
use ripple_host_sim::model::text::tokens;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::Header;
use ripple_kernel::{Activation, Decoder, MemoryPlan, Options};
use std::path::{Path, PathBuf};

fn path(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| panic!("{variable} is not set"))
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0..).zip(logits).max_by(|a: &(u32, _), b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.unwrap().0
}

fn greedy(prompt: &[u32], count: usize, mut step: impl FnMut(u32) -> u32) -> Vec<u32> {
    let mut next = 0;
    prompt.iter().for_each(|&token| next = step(token));
    let mut out = vec![next];
    while out.len() < count {
        next = step(next);
        out.push(next);
    }
    out
}

/// Prompts become the expected ids, and those the expected continuation in float32; returns by how many
/// tokens the 8-bit image with every neuron follows.
fn compare(mut model: Model, fixture: &str) -> Vec<(usize, usize)> {
    model.limit_context(256).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
    let rows = std::fs::read_to_string(fixture).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
    let c = model.config;
    let placement = Placement::identity("third", c.layers as usize, c.neurons as usize);
    let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
    let options = Options { context: 256, ..Options::DEFAULT };
    let plan = MemoryPlan::for_model(&Header::parse(&image).unwrap().geometry, &options);
    let ids = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let mut reference = Reference::new(&model);
    let row = |row: &serde_json::Value| {
        let text = row["prompt"].as_str().unwrap();
        let prompt = tokens(&model, text).unwrap();
        assert_eq!(prompt, ids(&row["prompt_ids"]), "{text:?}");
        let expected = ids(&row["greedy_ids"]);
        assert_eq!(expected.len(), 64);
        reference.reset();
        let found = greedy(&prompt, 64, |token| likeliest(reference.forward(token)));
        assert_eq!(found, expected, "{text:?}");
        let mut memory = HostMemory::new(&plan);
        let mut decoder =
            Decoder::open(Slice::new(&image), &image, memory.lend(), &options, ()).unwrap();
        let found = greedy(&prompt, 64, |token| likeliest(decoder.step(token).unwrap()));
        let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        (same, 64)
    };
    rows.iter().map(row).collect()
}

#[test]
#[ignore = "needs llama2.c's stories260K.bin and tok512.bin: RIPPLE_STORIES260K"]
fn stories260k_goes_on_as_llama2c_does() {
    let folder = path("RIPPLE_STORIES260K");
    let tokenizer = folder.join("tok512.bin");
    let model = import_dense(&folder.join("stories260K.bin"), Some(&tokenizer)).unwrap();
    let same = compare(model, "greedy-stories260K.json");
    println!("tokens alike in 8 bits: {same:?}");
    assert_eq!(same[0].0, 64);
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf (tests/fetch-smollm2.sh): RIPPLE_SMOLLM2"]
fn smollm2_goes_on_as_the_dequantised_weights_do() {
    // The file does not say what its neurons do.
    let activation = Some((Activation::Silu, 0.0));
    let said = import::Options { activation, ..import::Options::default() };
    let model = import::import_with(&path("RIPPLE_SMOLLM2"), &said).unwrap();
    assert!(model.chat_template.as_ref().unwrap().template.contains("<|im_start|>"));
    println!("tokens alike in 8 bits: {:?}", compare(model, "greedy-smollm2.json"));
}
