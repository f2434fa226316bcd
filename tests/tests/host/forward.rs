//! Whole windows at once: every number has the bits that the reference computes token by token, in every family,
//! on any number of threads.

use crate::families;
use crate::families_table::folder;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::forward::{Ffn, Forward, Watch, window_losses};
use ripple_host_sim::model::reference::{Reference, window_loss};
use ripple_host_sim::model::threshold::sparsify;
use ripple_host_sim::process::interrupt;
use ripple_kernel::{Activation, Order, Variant};
use ripple_tests::tiny::{CONTEXT, Shape, model};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bits of what a token showed: its inputs and pre-activations of every layer, and its logits.
type Seen = Vec<Vec<u32>>;

struct Noting<'m> {
    model: &'m Model,
    seen: Vec<Seen>,
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

impl Watch for Noting<'_> {
    fn ffn(&mut self, ffn: Ffn<'_>) {
        let config = &self.model.config;
        let (dim, neurons) = (config.dim as usize, config.neurons as usize);
        let rows = ffn.input.chunks(dim).zip(ffn.pre.chunks(neurons));
        for ((input, pre), seen) in rows.zip(&mut self.seen[ffn.first..]) {
            assert_eq!(seen.len(), 2 * ffn.layer);
            seen.push(bits(input));
            seen.push(bits(pre));
        }
    }

    fn wants_logits(&self) -> bool {
        true
    }

    fn logits(&mut self, first: usize, logits: &[f32]) {
        let rows = logits.chunks(self.model.config.vocab as usize);
        rows.zip(&mut self.seen[first..]).for_each(|(row, seen)| seen.push(bits(row)));
    }
}

fn at_once(model: &Model, windows: &[&[u32]], threads: usize) -> Vec<Seen> {
    let tokens = windows.iter().map(|window| window.len()).sum::<usize>();
    let told = AtomicU64::new(0);
    let mut noting = Noting { model, seen: vec![Seen::new(); tokens] };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let done = |n| {
        told.fetch_add(n, Ordering::Relaxed);
    };
    let read = pool.install(|| Forward::new(model).read(windows, &mut noting, &done));
    assert!(!interrupt::requested());
    assert_eq!((read, told.into_inner()), (tokens, tokens as u64));
    noting.seen
}

fn one_by_one(model: &Model, windows: &[&[u32]]) -> Vec<Seen> {
    let mut reference = Reference::new(model);
    let mut all = Vec::new();
    for window in windows {
        reference.reset();
        for &token in *window {
            let mut seen = Seen::new();
            let logits = reference.forward_with(token, &mut |_, pre: &[f32], input: &[f32]| {
                seen.push(bits(input));
                seen.push(bits(pre));
            });
            let logits = bits(logits);
            seen.push(logits);
            all.push(seen);
        }
    }
    all
}

/// Windows of several lengths, of as many tokens.
fn windows(tokens: &[u32], context: usize) -> Vec<&[u32]> {
    let (first, rest) = tokens.split_at(1);
    let (second, rest) = rest.split_at(context.min(7));
    [first, second].into_iter().chain(rest.chunks(context)).collect()
}

fn assert_same(name: &str, model: &Model, tokens: &[u32]) {
    let windows = windows(tokens, model.config.context as usize);
    let expected = one_by_one(model, &windows);
    for threads in [1, 3] {
        let found = at_once(model, &windows, threads);
        for (token, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found == expected, "{name}: token {token}, {threads} threads: other bits");
        }
    }
}

fn text(vocab: u32, tokens: u32) -> Vec<u32> {
    (0..tokens).map(|i| (i * i * 7 + i) % vocab).collect()
}

#[test]
fn tiny_models_with_any_parts_have_the_same_bits() {
    let capped = Variant { attention_cap: 5.0, logit_cap: 20.0, head_norm: true, ..Variant::NONE };
    for (i, order) in Order::ALL.into_iter().enumerate() {
        for variant in
            [Variant { order, ..Variant::NONE }, Variant { order, sub_norm: true, ..capped }]
        {
            for activation in [Activation::Relu, Activation::ReluSquared, Activation::ReluBoth] {
                let llama = Shape { activation, variant, seed: i as u64, ..Shape::LLAMA };
                assert_same(&format!("{llama:?}"), &model(llama), &text(500, 80));
            }
            let opt = Shape { variant, dim: 68, neurons: 130, head_dim: 36, ..Shape::OPT };
            assert_same(&format!("{opt:?}"), &model(opt), &text(500, 80));
        }
    }
}

#[test]
fn a_text_of_several_groups_has_the_same_bits() {
    assert_same("groups", &model(Shape { kv_heads: 2, ..Shape::LLAMA }), &text(500, 2200));
}

#[test]
fn neurons_with_thresholds_have_the_same_bits() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let mut model = model(Shape { activation: Activation::Relu, ..Shape::LLAMA });
        model.config.activation = activation;
        sparsify(&mut model, 0.4, &text(500, 100), &|_| ()).unwrap();
        assert_same("thresholds", &model, &text(500, 80));
    }
}

#[test]
fn every_family_has_the_same_bits() {
    for name in families::families() {
        let model = families::model(&folder().join(&name));
        let tokens = text(model.config.vocab, 40);
        assert_same(&name, &model, &tokens);
    }
}

#[test]
fn losses_are_those_of_the_reference() {
    let model = model(Shape::OPT);
    let tokens = text(500, 70);
    let windows: Vec<_> = tokens.chunks(CONTEXT as usize).collect();
    let found = window_losses(&model, &windows, &mut |_| (), &|_| ());
    let mut reference = Reference::new(&model);
    for (window, found) in windows.iter().zip(found) {
        let Ok(expected) = window_loss(window, |begins, token| {
            if begins {
                reference.reset();
            }
            Ok::<_, Infallible>(reference.forward(token).to_vec())
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn a_neuron_that_is_set_to_negative_infinity_is_not_active() {
    let model = model(Shape::LLAMA);
    let tokens = text(500, 20);
    let neurons = model.config.neurons as usize;
    let loss = |model: &Model, masked: bool| {
        let mut mask = |ffn: Ffn<'_>| {
            let thirds =
                ffn.pre.iter_mut().enumerate().filter(|(i, _)| (i % neurons).is_multiple_of(3));
            thirds.filter(|_| masked).for_each(|(_, pre)| *pre = f32::NEG_INFINITY);
        };
        window_losses(model, &[&tokens], &mut mask, &|_| ())[0]
    };
    let mut without = model.clone();
    for layer in &mut without.layers {
        // Their gates are never above 0.
        let gate = layer.gate.as_mut().unwrap();
        let cols = gate.weight.cols;
        gate.weight.values_mut().chunks_mut(cols).step_by(3).for_each(|row| row.fill(0.0));
    }
    assert_eq!(loss(&model, true), loss(&without, false));
    assert_ne!(loss(&model, true), loss(&model, false));
}
