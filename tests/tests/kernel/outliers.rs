//! Models of which a few channels are far larger than the others: groups with scales of their own keep what one
//! scale for a vector loses, in every section, beside rows of every other format.

use ripple_host_sim::import::{self, demo};
use ripple_host_sim::model::Model;
use ripple_host_sim::model::text::read_tokens;
use ripple_host_sim::pack::pack_as;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_host_sim::study::quality::{Measured, measure};
use ripple_kernel::image::{Quant, Quants, SectionKind};
use ripple_kernel::{Activation, Options};
use ripple_tests::tiny::{self, CONTEXT, Shape};

/// A tiny model two of whose channels are a hundred times the others in front of every matrix.
fn model(opt: bool) -> Model {
    let base = if opt { Shape::OPT } else { Shape::LLAMA };
    // Neither width is whole groups.
    let shape =
        Shape { dim: 100, neurons: 60, head_dim: 20, kv_heads: 2, tied_head: false, ..base };
    let mut model = tiny::model(shape);
    let mut norms = vec![&mut model.final_norm];
    for layer in &mut model.layers {
        norms.extend([&mut layer.attention_norm, &mut layer.ffn_norm]);
    }
    for norm in norms {
        norm.weight[40] *= 100.0;
        norm.weight[99] *= -100.0;
    }
    // What reads them is as much smaller, so that they do not drown the others.
    let layers = model.layers.iter_mut();
    let matrices = layers.flat_map(|layer| {
        let gate = layer.gate.as_mut().map(|gate| &mut gate.weight);
        let rest = [&mut layer.query, &mut layer.key, &mut layer.value, &mut layer.up];
        rest.map(|linear| &mut linear.weight).into_iter().chain(gate)
    });
    for matrix in matrices.chain(model.head.as_mut()) {
        for row in matrix.values_mut().chunks_mut(100) {
            row[40] /= 100.0;
            row[99] /= 100.0;
        }
    }
    // Logits of ordinary size.
    model.head.iter_mut().flat_map(|head| head.values_mut()).for_each(|w| *w *= 0.1);
    model
}

fn measured(model: &Model, formats: &[Quants]) -> Vec<Measured> {
    let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
    let placement = Placement::identity("outliers", layers, neurons);
    let images: Vec<_> = formats
        .iter()
        .map(|quants| {
            let format = Format::new(&PredictorChoice::Exact, *quants);
            pack_as(format, model, &placement, &[]).unwrap()
        })
        .collect();
    let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let tokens: Vec<u32> = (0..2 * CONTEXT).map(|i| i * 37 % 520).collect();
    let options = Options { context: CONTEXT, ..Options::DEFAULT };
    measure(model, &images, &tokens, &options, 2, &|_| ()).unwrap()
}

const FFN: [SectionKind; 2] = [SectionKind::Ffn, SectionKind::Predictor];

#[test]
fn groups_keep_what_one_scale_for_a_vector_loses() {
    for opt in [false, true] {
        let model = model(opt);
        assert_eq!(model.config.activation, Activation::Relu);
        let grouped = Quants::Q8.with(&SectionKind::ALL, Quant::Q8G);
        let found = measured(&model, &[Quants::Q8, grouped]);
        let [_, rows, groups] = found[..] else { panic!("{found:?}") };
        assert!(groups.divergence < rows.divergence / 2.0, "{found:?}");
        assert!(groups.divergence > 0.0 && rows.agreement < groups.agreement, "{found:?}");
    }
}

#[test]
fn each_section_gains_on_its_own_beside_every_other_format() {
    let model = model(true);
    let kinds: [&[SectionKind]; 4] =
        [&[SectionKind::Qkv], &[SectionKind::Output], &FFN, &[SectionKind::Head]];
    let mut formats = vec![Quants::Q8];
    formats.extend(kinds.map(|kinds| Quants::Q8.with(kinds, Quant::Q8G)));
    // Rows of one format whose input is that of others.
    let grouped = Quants::Q8.with(&SectionKind::ALL, Quant::Q8G);
    formats.push(grouped.with(&[SectionKind::Predictor], Quant::Q8));
    formats.push(grouped.with(&[SectionKind::Predictor], Quant::Q4));
    formats.push(grouped.with(&[SectionKind::Ffn], Quant::Q8));
    formats.push(grouped.with(&[SectionKind::Ffn], Quant::Q4));
    let four = Quants::Q8.with(&FFN, Quant::Q4);
    formats.push(four);
    let found = measured(&model, &formats);
    let divergence = |i: usize| found[1 + i].divergence;
    for gains in [1, 3, 4, 5, 7] {
        assert!(divergence(gains) < divergence(0), "{gains}: {found:#?}");
    }
    // The output's inputs have no outliers: neither better nor worse than noise.
    assert!((divergence(2) / divergence(0) - 1.0).abs() < 0.2, "{found:#?}");
    // Rows in 4 bits gain by an input in groups too.
    assert!(divergence(6).max(divergence(8)) < divergence(9), "{found:#?}");
}

/// Perplexity, against the reference, of an image with one scale a row and of one in groups, and their sizes.
fn costs(model: &Model, text: &std::path::Path, windows: usize) -> [(f64, f64, usize); 2] {
    let c = &model.config;
    let placement = Placement::identity("costs", c.layers as usize, c.neurons as usize);
    let images = [Quant::Q8, Quant::Q8G].map(|quant| {
        let quants = Quants::Q8.with(&SectionKind::ALL, quant);
        pack_as(Format::new(&PredictorChoice::Exact, quants), model, &placement, &[]).unwrap()
    });
    let tokens = read_tokens(model, text).unwrap();
    let options = Options { context: c.context, ..Options::DEFAULT };
    let both = images.each_ref().map(Vec::as_slice);
    let found = measure(model, &both, &tokens, &options, windows, &|_| ()).unwrap();
    [0, 1].map(|i| {
        let change = 100.0 * (found[1 + i].perplexity / found[0].perplexity - 1.0);
        println!("{}: {change:+.3} %, {:?}, {} bytes", model.name, found[1 + i], images[i].len());
        (change, found[1 + i].divergence, images[i].len())
    })
}

#[test]
#[ignore = "slow"]
fn demo_models_lose_no_more_in_groups() {
    for name in demo::list() {
        let directory = demo::path(name).unwrap();
        let model = Model::load(&directory).unwrap();
        let [rows, groups] = costs(&model, &directory.join("held-out.txt"), 4);
        assert!(groups.0.abs() < 0.5 && groups.1 < rows.1, "{name}: {rows:?}, {groups:?}");
        assert!(groups.2 < rows.2 * 107 / 100, "{name}: {rows:?}, {groups:?}");
    }
}

/// `RIPPLE_SMOLLM2=FILE.gguf RIPPLE_TEXT=FILE.txt cargo test --release -p ripple-tests --test kernel -- --ignored
/// third_party_outliers --nocapture`: `tests/fetch-smollm2.sh` fetches the model; any text will do.
#[test]
#[ignore = "needs files"]
fn third_party_outliers() {
    let path = |name: &str| std::path::PathBuf::from(std::env::var_os(name).expect(name));
    // The file does not say what its neurons do.
    let activation = Some((Activation::Silu, 0.0));
    let said = import::Options { activation, ..import::Options::default() };
    let mut model = import::import_with(&path("RIPPLE_SMOLLM2"), &said).unwrap();
    model.limit_context(512).unwrap();
    let [rows, groups] = costs(&model, &path("RIPPLE_TEXT"), 6);
    assert!(rows.0 > 3.0 && groups.0 < 1.0, "{rows:?}, {groups:?}");
    assert!(groups.1 < rows.1 / 8.0, "{rows:?}, {groups:?}");
}
