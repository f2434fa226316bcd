//! The reference forward pass agrees with the `transformers` library on every demo model.

use ripple_host_sim::import::demo;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::reference::{Reference, perplexity, window_loss};
use safetensors::SafeTensors;
use std::convert::Infallible;
use std::path::Path;

const TOLERANCE: f32 = 1e-4;

struct Golden {
    name: &'static str,
    model: Model,
    tensors: Vec<u8>,
    json: serde_json::Value,
}

impl Golden {
    fn read(name: &'static str) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden");
        let folder = demo::path(name).unwrap();
        Self {
            name,
            model: Model::load(&folder).unwrap(),
            tensors: std::fs::read(fixtures.join(format!("{name}.safetensors"))).unwrap(),
            json: serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap())
                .unwrap(),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        demo::list().into_iter().map(Self::read)
    }

    fn floats(&self, tensor: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.tensors).unwrap();
        let bytes = file.tensor(tensor).unwrap().data();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn ids(&self, tensor: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.tensors).unwrap();
        let view = file.tensor(tensor).unwrap();
        let bytes = view.data();
        match view.dtype() {
            safetensors::Dtype::U16 => {
                bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]).into()).collect()
            }
            _ => bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect(),
        }
    }

    fn number(&self, pointer: &str) -> f64 {
        self.json.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap()
    }
}

fn loss(reference: &mut Reference<'_>, window: &[u32]) -> f64 {
    let loss = window_loss(window, |reset, token| {
        if reset {
            reference.reset();
        }
        Ok::<_, Infallible>(reference.forward(token).to_vec())
    });
    loss.unwrap()
}

fn held_out_loss(golden: &Golden, windows: usize) -> Vec<f64> {
    let ids = golden.ids("held_out_ids");
    let context = golden.model.config.context as usize;
    let mut reference = Reference::new(&golden.model);
    ids.chunks_exact(context).take(windows).map(|window| loss(&mut reference, window)).collect()
}

fn largest(logits: &[f32]) -> u32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == most).unwrap() as u32
}

#[test]
fn logits_are_those_of_transformers() {
    for golden in Golden::all() {
        let (ids, expected) = (golden.ids("input_ids"), golden.floats("logits"));
        let vocab = golden.model.config.vocab as usize;
        let mut reference = Reference::new(&golden.model);
        let mut worst = 0.0_f32;
        for (&token, expected) in ids.iter().zip(expected.chunks_exact(vocab)) {
            let logits = reference.forward(token);
            let off = logits.iter().zip(expected).map(|(a, b)| (a - b).abs());
            worst = off.fold(worst, f32::max);
        }
        println!("{}: logits within {worst:e}", golden.name);
        assert!(worst < TOLERANCE, "{}: logits are off by {worst}", golden.name);
    }
}

#[test]
fn active_sets_are_those_of_transformers() {
    for golden in Golden::all() {
        let config = golden.model.config;
        let (layers, neurons) = (config.layers as usize, config.neurons as usize);
        let expected = golden.floats("pre_activation");
        let tokens = expected.len() / layers / neurons;
        let mut reference = Reference::new(&golden.model);
        let mut observed = 0;
        for (at, &token) in golden.ids("input_ids").iter().take(tokens).enumerate() {
            reference.forward_with(token, &mut |layer, found, input| {
                assert_eq!(input.len(), config.dim as usize);
                observed += 1;
                let expected = &expected[(layer * tokens + at) * neurons..][..neurons];
                for (neuron, (&found, &expected)) in found.iter().zip(expected).enumerate() {
                    assert!(
                        (found > 0.0) == (expected > 0.0) || expected.abs() < TOLERANCE,
                        "{}: token {at}, layer {layer}, neuron {neuron}: {found}, not {expected}",
                        golden.name
                    );
                }
            });
        }
        assert_eq!(observed, tokens * layers);
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for golden in Golden::all() {
        let expected = golden.ids("greedy_ids");
        let mut reference = Reference::new(&golden.model);
        let mut next = 0;
        for (at, &token) in expected.iter().enumerate() {
            assert!(at < 16 || next == token, "{}: token {at}: {next}, not {token}", golden.name);
            next = largest(reference.forward(token));
        }
    }
}

#[test]
fn golden_losses_are_those_of_transformers() {
    for golden in Golden::all() {
        let found = loss(&mut Reference::new(&golden.model), &golden.ids("input_ids"));
        let expected = golden.number("/golden_loss");
        assert!((found - expected).abs() < 1e-4, "{}: {found}, not {expected}", golden.name);
    }
}

#[test]
fn windows_of_a_text_do_not_depend_on_each_other() {
    let golden = Golden::read("story-nano");
    let both = held_out_loss(&golden, 2);
    let context = golden.model.config.context as usize;
    let last = &golden.ids("held_out_ids")[context..][..context];
    assert_eq!(loss(&mut Reference::new(&golden.model), last), both[1]);
}

fn assert_held_out_perplexity(golden: &Golden) {
    let windows = golden.number("/held_out_own/windows") as usize;
    let losses = held_out_loss(golden, windows);
    assert_eq!(losses.len(), windows);
    let (found, expected) = (perplexity(&losses), golden.number("/held_out_own/perplexity"));
    println!("{}: perplexity {found:.6}, transformers {expected:.6}", golden.name);
    assert!((found - expected).abs() < 1e-3, "{}: {found}, not {expected}", golden.name);
}

#[test]
fn held_out_perplexity_is_that_of_transformers() {
    assert_held_out_perplexity(&Golden::read("story-nano"));
}

/// 40 windows of 256 tokens for each model: half a minute.
#[test]
#[ignore = "slow"]
fn held_out_perplexity_of_every_model() {
    Golden::all().for_each(|golden| assert_held_out_perplexity(&golden));
}

#[test]
fn the_recorded_trace_holds_the_golden_active_sets() {
    for golden in Golden::all() {
        let pre_activations = golden.floats("pre_activation");
        let (layers, neurons) =
            (golden.model.config.layers as usize, golden.model.config.neurons as usize);
        let tokens = pre_activations.len() / layers / neurons;
        let ids = &golden.ids("input_ids")[..tokens];
        let trace = ripple_host_sim::profile::record::record(&golden.model, "golden", ids, &|_| ());
        assert_eq!((trace.tokens(), trace.layers(), trace.neurons()), (tokens, layers, neurons));
        let mut active = 0;
        for (layer, of_layer) in pre_activations.chunks_exact(tokens * neurons).enumerate() {
            for (token, expected) in of_layer.chunks_exact(neurons).enumerate() {
                let recorded: Vec<u16> = trace.active(token, layer).collect();
                active += recorded.len();
                for (neuron, x) in expected.iter().enumerate() {
                    let is_active = recorded.binary_search(&(neuron as u16)).is_ok();
                    assert!(
                        is_active == (*x > 0.0) || x.abs() < TOLERANCE,
                        "{}: token {token}, layer {layer}, neuron {neuron}: {x}",
                        golden.name
                    );
                }
            }
        }
        assert!(active > 0);
    }
}
