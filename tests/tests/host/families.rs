//! Small checkpoints of every family, made by `families/make.py`: what is imported computes what
//! `transformers` computed, in float32 and through all stages in 8 bits.

use crate::families_table::{folder, hold};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ripple_hal::Slice;
use ripple_host_sim::import::import_dense;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::reference::Reference;
use ripple_host_sim::model::threshold::sparsify;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::{Method, PlaceOptions, place};
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::profile::record::record;
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, MemoryPlan, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const TOLERANCE: f32 = 1e-4;

/// What `transformers` computed.
struct Golden {
    ids: Vec<u32>,
    /// Which of them have logits.
    kept: Vec<usize>,
    /// `(kept, vocab)`.
    logits: Vec<f32>,
}

impl Golden {
    fn read(folder: &Path) -> Self {
        let golden: Value =
            serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
        let numbers = |key: &str| -> Vec<u32> {
            let list = golden[key].as_array().unwrap();
            list.iter().map(|n| n.as_u64().unwrap() as u32).collect()
        };
        let bytes = STANDARD.decode(golden["logits"].as_str().unwrap()).unwrap();
        let logits = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Self {
            ids: numbers("ids"),
            kept: numbers("kept").into_iter().map(|at| at as usize).collect(),
            logits: logits.collect(),
        }
    }

    /// The logits after the token at `at`, if they were kept.
    fn after(&self, at: usize) -> Option<&[f32]> {
        let vocab = self.logits.len() / self.kept.len();
        let place = self.kept.iter().position(|&kept| kept == at)?;
        Some(&self.logits[place * vocab..][..vocab])
    }
}

/// A byte-level vocabulary without merges: the bytes in the order of GPT-2's characters, `<s>`, `</s>`.
fn tokenizer() -> Value {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let own = (0..=255u8).filter(|&b| printable(b)).map(char::from);
    let others = (0..=255u8).filter(|&b| !printable(b)).count() as u32;
    let chars = own.chain((256..256 + others).filter_map(char::from_u32));
    let vocab: serde_json::Map<String, Value> =
        chars.zip(0..).map(|(c, id)| (c.to_string(), json!(id))).collect();
    let named = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0",
        "added_tokens": [named(256, "<s>"), named(257, "</s>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

/// The checkpoint of `family` with that vocabulary, imported.
pub(crate) fn model(family: &Path) -> Model {
    model_with(family, "config.json")
}

/// The same, of the configuration in the file `config`.
fn model_with(family: &Path, config: &str) -> Model {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(family).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    fs::copy(family.join(config), folder.path().join("config.json")).unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    import_dense(folder.path(), None).unwrap_or_else(|e| panic!("{}: {e:#}", family.display()))
}

fn largest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

/// The families that there are.
pub(crate) fn families() -> Vec<String> {
    let folders = fs::read_dir(folder()).unwrap().map(Result::unwrap);
    let with_golden = folders.filter(|entry| entry.path().join("golden.json").exists());
    let mut names: Vec<String> =
        with_golden.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn cells(cell: impl Fn(&Path) -> String) -> BTreeMap<String, String> {
    families().into_iter().map(|name| (name.clone(), cell(&folder().join(name)))).collect()
}

#[test]
fn checkpoints_are_of_these_classes() {
    hold(
        "checkpoint",
        &cells(|folder| {
            let config: Value =
                serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
            config["architectures"][0].as_str().unwrap().to_owned()
        }),
    );
}

#[test]
fn logits_are_those_of_transformers() {
    hold(
        "logits",
        &cells(|folder| {
            let (model, golden) = (model(folder), Golden::read(folder));
            let mut reference = Reference::new(&model);
            let mut worst = 0.0_f32;
            for (at, &token) in golden.ids.iter().enumerate() {
                let found = reference.forward(token);
                let Some(expected) = golden.after(at) else { continue };
                assert_eq!(found.len(), expected.len());
                worst =
                    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
            }
            println!("{}: {worst:e}", folder.display());
            assert!(worst < TOLERANCE, "{}: logits are off by {worst}", folder.display());
            // The last bits differ between machines.
            "< 1e-4".to_owned()
        }),
    );
}

/// `families/again.txt` is what `make.py --again` printed with that version.
#[test]
fn what_version_5_writes_is_the_same_model() {
    let said = fs::read_to_string(folder().join("again.txt")).unwrap();
    let (version, said) = said.split_once('\n').unwrap();
    let version = version.strip_prefix("transformers ").unwrap();
    assert!(version.starts_with("5."));
    let written = |family: &Path, config: &str| {
        let mut model = model_with(family, config);
        "family".clone_into(&mut model.name);
        let file = tempfile::NamedTempFile::new().unwrap();
        model.write(file.path()).unwrap();
        fs::read(file.path()).unwrap()
    };
    hold(
        "v5",
        &cells(|folder| {
            let config = fs::read(folder.join("config-again.json")).unwrap();
            let config: Value = serde_json::from_slice(&config).unwrap();
            assert_eq!(config["transformers_version"], version);
            let name = folder.file_name().unwrap().to_string_lossy();
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            let off = line.unwrap().strip_prefix("logits differ by ").unwrap();
            let off: f32 = off.split(' ').next().unwrap().parse().unwrap();
            assert!(off < TOLERANCE, "{name}: {off}");
            let (old, new) = (written(folder, "config.json"), written(folder, "config-again.json"));
            assert!(old == new, "{name}: another model");
            "same".to_owned()
        }),
    );
}

/// Import, thresholds that keep all where there must be some, trace, place, pack, decode.
fn decoded(folder: &Path) -> (Golden, Vec<Vec<f32>>, f64) {
    let (mut model, golden) = (model(folder), Golden::read(folder));
    if model.config.activation.lossy() {
        sparsify(&mut model, 1.0, &[], &|_| ()).unwrap();
    }
    // Through the model file.
    let file = tempfile::NamedTempFile::new().unwrap();
    model.write(file.path()).unwrap();
    let written = Model::read(file.path()).unwrap();
    assert_eq!((written.config, &written.layers), (model.config, &model.layers));
    assert_eq!(written.rope_frequencies, model.rope_frequencies);
    let model = written;
    let trace = record(&model, "golden", &golden.ids, &|_| ());
    let layers = model.config.layers as usize;
    let active = (0..layers).map(|layer| trace.density(layer)).sum::<f64>() / layers as f64;
    let hot = PlaceOptions { hot: vec![2; layers], ..PlaceOptions::default() };
    let placement = place(&trace, Method::Coactivation, &hot, &|_| ()).unwrap();
    let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
    let options = Options { context: model.config.context, ..Options::DEFAULT };
    let plan = MemoryPlan::for_model(&Header::parse(&image).unwrap().geometry, &options);
    let mut memory = HostMemory::new(&plan);
    let mut decoder =
        Decoder::open(Slice::new(&image), &image, memory.lend(), &options, ()).unwrap();
    let mut all = Vec::new();
    for (at, &token) in golden.ids.iter().enumerate() {
        let logits = decoder.step(token).unwrap();
        if golden.after(at).is_some() {
            all.push(logits.to_vec());
        }
    }
    (golden, all, active)
}

#[test]
fn images_have_the_likeliest_tokens_of_transformers() {
    let (mut images, mut active) = (BTreeMap::new(), BTreeMap::new());
    for name in families() {
        let (golden, found, share) = decoded(&folder().join(&name));
        let expected = golden.kept.iter().map(|&at| golden.after(at).unwrap());
        let mut same = 0;
        for (found, expected) in found.iter().zip(expected) {
            let size = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
            let off = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            assert!(off.sqrt() < 0.1 * size, "{name}: off by {} of {size}", off.sqrt());
            same += usize::from(largest(found) == largest(expected));
        }
        images.insert(name.clone(), format!("{same} of {}", golden.kept.len()));
        active.insert(name, format!("{:.0} %", 100.0 * share));
    }
    hold("image", &images);
    hold("active", &active);
}
