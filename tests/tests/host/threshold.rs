//! Gated models with thresholds: the wanted share is active, the cost is in the image, 1 keeps all, and
//! the kernel computes what the reference does, with the same bits however it reads.

use crate::checkpoint_common::silu;
use ripple_hal::Slice;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::chat::ChatTemplate;
use ripple_host_sim::model::reference::Reference;
use ripple_host_sim::model::selection::{Choice, judge};
use ripple_host_sim::model::threshold::sparsify;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::Goal;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_host_sim::predictor::signs::{SignOptions, calibrate};
use ripple_host_sim::profile::record::record;
use ripple_kernel::image::{Header, Lossy};
use ripple_kernel::{Activation, Decoder, MemoryPlan, Options};
use ripple_tests::tiny::{CONTEXT, Shape};

const SHAPE: Shape = Shape { dim: 32, layers: 3, neurons: 80, ..Shape::LLAMA };

fn model(activation: Activation) -> Model {
    let mut model = silu(SHAPE);
    model.config.activation = activation;
    model
}

fn tokens() -> Vec<u32> {
    (0..200).map(|i| (i * i * 7 + i) % 500).collect()
}

fn image(model: &Model, predictor: &PredictorChoice) -> Vec<u8> {
    let c = &model.config;
    let placement = Placement::identity("tiny", c.layers as usize, c.neurons as usize);
    pack(model, &placement, predictor, &[]).unwrap()
}

/// Logits of every position, as bits.
fn logits(image: &[u8], mapped: &[u8], options: &Options, tokens: &[u32]) -> Vec<Vec<u32>> {
    let plan = MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, options);
    let mut memory = HostMemory::new(&plan);
    let mut decoder = Decoder::open(Slice::new(image), mapped, memory.lend(), options, ()).unwrap();
    let step = |&token| decoder.step(token).unwrap().iter().map(|x| x.to_bits()).collect();
    tokens.iter().map(step).collect()
}

#[test]
fn the_wanted_share_is_active_in_every_layer() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for activity in [0.1, 0.5] {
            let mut model = model(activation);
            sparsify(&mut model, activity, &tokens(), &|_| ()).unwrap();
            let trace = record(&model, "text", &tokens(), &|_| ());
            for layer in 0..trace.layers() {
                let found = trace.density(layer);
                // Layers after the first see what the others leave out.
                assert!((found - activity).abs() < 0.05, "{activation:?} {layer}: {found}");
            }
            let cost = model.sparsity.as_ref().unwrap().cost;
            assert_eq!(cost.activity, activity as f32);
            assert!(cost.dense > 1.0 && cost.sparse > 1.0 && cost.dense != cost.sparse);
            let image = image(&model, &PredictorChoice::Exact);
            assert_eq!(Header::lossy(&image), cost);
        }
    }
}

#[test]
fn a_choice_by_the_product_keeps_more_of_what_neurons_add() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let model = model(activation);
        let (profile, held_out) = (tokens(), &tokens()[..3 * CONTEXT as usize]);
        let (all, kept) = judge(&model, &profile, held_out, &[0.3, 0.999_99], &|_| ()).unwrap();
        let [gate, product, most_by_gate, most] = kept[..] else { panic!("{kept:?}") };
        assert_eq!((gate.by, product.by, gate.share), (Choice::Gate, Choice::Product, 0.3));
        for kept in [gate, product] {
            assert!((kept.found - 0.3).abs() < 0.06, "{kept:?}");
            assert!(kept.perplexity != all && kept.recall < 1.0);
        }
        assert!(product.recall > gate.recall + 0.05, "{product:?}, {gate:?}");
        for kept in [most_by_gate, most] {
            assert!(kept.found > 0.99 && kept.recall > 0.99, "{kept:?}");
            assert!((kept.perplexity / all - 1.0).abs() < 0.01, "{kept:?}, {all}");
        }
    }
    let relu = ripple_tests::tiny::model(SHAPE);
    let refused = judge(&relu, &tokens(), &tokens(), &[0.3], &|_| ()).unwrap_err();
    assert!(
        refused.to_string().contains("its activation is Relu, expected SiLU or GELU"),
        "{refused}"
    );
}

#[test]
fn a_share_of_1_loses_nothing() {
    let dense = model(Activation::Silu);
    let mut all = dense.clone();
    sparsify(&mut all, 1.0, &[], &|_| ()).unwrap();
    assert_eq!(all.sparsity.as_ref().unwrap().cost, Lossy { activity: 1.0, ..Lossy::default() });
    let (mut a, mut b) = (Reference::new(&dense), Reference::new(&all));
    for &token in &tokens()[..CONTEXT as usize] {
        assert_eq!(a.forward(token), b.forward(token));
    }
    let trace = record(&all, "text", &tokens(), &|_| ());
    assert!((0..trace.layers()).all(|layer| trace.density(layer) == 1.0));
}

#[test]
fn the_reference_is_the_formula() {
    let mut model = model(Activation::Silu);
    sparsify(&mut model, 0.3, &tokens(), &|_| ()).unwrap();
    let layer = &model.layers[0];
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut reference = Reference::new(&model);
    let mut seen = None;
    reference.forward_with(5, &mut |layer, pre, input| {
        if layer == 0 {
            seen = Some((pre.to_vec(), input.to_vec()));
        }
    });
    let (pre, input) = seen.unwrap();
    let mut active = 0;
    for (neuron, &output) in pre.iter().enumerate().take(80) {
        let gate = dot(&layer.gate.as_ref().unwrap().weight.row(neuron), &input);
        assert!((gate - f64::from(output)).abs() < 1e-5);
        let expected = gate / (1.0 + (-gate).exp());
        let found = model.coefficient(0, output);
        active += u32::from(found.is_some());
        match found {
            Some(found) => assert!((f64::from(found) - expected).abs() < 1e-5),
            None => assert!(expected.abs() < f64::from(model.threshold(0)) + 1e-5),
        }
    }
    assert!((5..60).contains(&active), "{active}");
}

#[test]
fn the_kernel_agrees_with_the_reference_and_with_itself() {
    for (activation, activity) in
        [(Activation::Silu, 1.0), (Activation::Silu, 0.4), (Activation::GeluTanh, 0.4)]
    {
        let mut model = model(activation);
        sparsify(&mut model, activity, &tokens(), &|_| ()).unwrap();
        let tokens = &tokens()[..CONTEXT as usize];
        let signs = calibrate(
            &model,
            tokens,
            SignOptions { planes: 4, goal: Goal::Activation(1.0) },
            &|_| (),
        );
        let options = Options { context: CONTEXT, ..Options::DEFAULT };
        let exact = image(&model, &PredictorChoice::Exact);
        let truth = logits(&exact, &exact, &options, tokens);

        let mut reference = Reference::new(&model);
        let (mut error, mut size) = (0.0, 0.0);
        for (&token, found) in tokens.iter().zip(&truth) {
            for (expected, &bits) in reference.forward(token).iter().zip(found) {
                error += f64::from((expected - f32::from_bits(bits)).powi(2));
                size += f64::from(expected.powi(2));
            }
        }
        // Rows of 8 bits; a neuron near its threshold may fall on the other side.
        assert!(
            (error / size).sqrt() < 0.05,
            "{activation:?} {activity}: {}",
            (error / size).sqrt()
        );

        for cache_bytes in [0, 3000, 100_000] {
            let options = Options { cache_bytes, batch: 5, ..options };
            assert_eq!(logits(&exact, &[], &options, tokens), truth, "cache of {cache_bytes}");
        }
        let full = image(&model, &PredictorChoice::ExactFullBundles);
        assert_eq!(logits(&full, &[], &options, tokens), truth, "full bundles");
        // Signs find a part of the active neurons, and never one that is not.
        let signs = image(&model, &PredictorChoice::Signs(signs));
        let found = logits(&signs, &[], &options, tokens);
        assert_eq!(found, logits(&signs, &signs, &options, tokens), "signs");
    }
}

#[test]
fn a_model_file_keeps_thresholds_cost_and_template() {
    let mut model = model(Activation::GeluTanh);
    sparsify(&mut model, 0.25, &tokens(), &|_| ()).unwrap();
    model.chat_template = Some(ChatTemplate {
        template: "{{ messages }}".to_owned(),
        tokens: [("eos_token".to_owned(), "</s>".to_owned())].into(),
    });
    model.limit_context(16).unwrap();
    assert!(model.limit_context(17).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.model");
    model.write(&path).unwrap();
    let found = Model::read(&path).unwrap();
    assert_eq!((found.config, &found.sparsity), (model.config, &model.sparsity));
    assert_eq!(found.chat_template, model.chat_template);
}
