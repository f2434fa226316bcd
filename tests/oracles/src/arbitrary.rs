//! Arbitrary tiny models, and what they may be run with.

use crate::tiny::{CONTEXT, Shape, model};
use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use ripple_hal::BlockCount;
use ripple_host_sim::model::Matrix;
use ripple_host_sim::pack::pack_as;
use ripple_host_sim::placement::{LayerPage, Pages, Placement};
use ripple_host_sim::predictor::low_rank::{Factors, LowRank};
use ripple_host_sim::predictor::signs::Thresholds;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_kernel::image::{Header, ImagePlan, LayerInfo, Quant, Quants, SectionKind};
use ripple_kernel::memory::cache::{Admission, Eviction};
use ripple_kernel::{Activation, Options, Order, Variant};

/// A tiny model's image; the hot prefix of its layers is as `hot` says, in turn.
pub fn image(shape: Shape, predictor: &PredictorChoice, hot: &[u32]) -> Vec<u8> {
    paged_image(shape, predictor, hot, None)
}

/// Pages for some `tokens`: any neurons in any order; none with seed 0.
pub fn pages(shape: Shape, tokens: &[u32], seed: u64) -> Option<Pages> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let layers = shape.layers as usize;
    let mut plans = Vec::new();
    for token in 0..model(shape).config.vocab {
        for _ in 0..layers {
            let mut neurons: Vec<u16> = (0..shape.neurons as u16).collect();
            neurons.shuffle(&mut rng);
            neurons.truncate(rng.random_range(0..=neurons.len()));
            let ahead = rng.random_range(0..=neurons.len()) as u16;
            let paged = tokens.contains(&token);
            plans.push(if paged { LayerPage { neurons, ahead } } else { LayerPage::default() });
        }
    }
    let buffer = [0, 20, 90, 999][rng.random_range(0..4)];
    let pages = || Pages::new(layers, shape.neurons as usize, plans).unwrap().with_buffer(buffer);
    (seed > 0).then(pages)
}

/// The same image with pages.
pub fn paged_image(
    shape: Shape,
    predictor: &PredictorChoice,
    hot: &[u32],
    pages: Option<Pages>,
) -> Vec<u8> {
    image_as(Format::new(predictor, Quants::Q8), shape, hot, pages)
}

/// The same image in any format.
pub fn image_as(format: Format<'_>, shape: Shape, hot: &[u32], pages: Option<Pages>) -> Vec<u8> {
    let model = model(shape);
    let placement = Placement::identity("tiny", shape.layers as usize, shape.neurons as usize)
        .with_pages(pages);
    let mut image = pack_as(format, &model, &placement, &[]).unwrap();
    // The hot prefix is advice in the header: write it again with other advice.
    let header = Header::parse(&image).unwrap();
    let tokenizer = header.section(SectionKind::Tokenizer).part.bytes() as u32;
    let plan = ImagePlan::in_order(&header.geometry, tokenizer, format.order)
        .unwrap()
        .with_number(header.number);
    let info: Vec<_> = (0..shape.layers as usize)
        .map(|layer| LayerInfo { hot: hot[layer % hot.len()], active: 0 })
        .collect();
    plan.emit(&info, &mut image);
    image
}

/// Tiny models of both families, half of them with parts that neither has.
pub fn shapes() -> impl Strategy<Value = Shape> {
    (
        any::<bool>(),
        1..12u32,
        1..4u32,
        1..120u32,
        1..3u32,
        1..5u32,
        (any::<bool>(), any::<u64>()),
        activations(),
        prop_oneof![Just(Variant::NONE), variants()],
    )
        .prop_map(
            |(
                opt,
                dim,
                layers,
                neurons,
                kv_heads,
                head_dim,
                (tied_head, seed),
                activation,
                variant,
            )| {
                let plain = opt && activation == Activation::ReluBoth;
                Shape {
                    opt,
                    dim: 4 * dim,
                    layers,
                    neurons,
                    kv_heads,
                    head_dim: 4 * head_dim,
                    tied_head,
                    activation: if plain { Activation::ReluSquared } else { activation },
                    variant,
                    seed,
                }
            },
        )
}

/// Activations with zeros.
fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        2 => Just(Activation::Relu),
        1 => Just(Activation::ReluSquared),
        1 => Just(Activation::ReluBoth),
    ]
}

/// Layers with any mixture of other parts.
fn variants() -> impl Strategy<Value = Variant> {
    let order = (0..Order::ALL.len()).prop_map(|i| Order::ALL[i]);
    let cap = || prop_oneof![Just(0.0f32), 0.5..40.0f32];
    (order, any::<bool>(), any::<bool>(), cap(), cap()).prop_map(
        |(order, head_norm, sub_norm, attention_cap, logit_cap)| Variant {
            order,
            head_norm,
            sub_norm,
            attention_cap,
            logit_cap,
        },
    )
}

/// Predictors for such a model.
pub fn predictors(shape: Shape) -> impl Strategy<Value = PredictorChoice> {
    let threshold = -2.0 * shape.dim as f32..6.0;
    prop_oneof![
        Just(PredictorChoice::Exact),
        Just(PredictorChoice::ExactFullBundles),
        (1..8u32, threshold).prop_map(move |(planes, threshold)| {
            let layer = vec![threshold; shape.neurons as usize];
            let layers = vec![layer; shape.layers as usize];
            PredictorChoice::Signs(Thresholds { planes, layers })
        }),
        (1..6u32, -0.5..0.5f32, any::<u64>()).prop_map(move |(rank, threshold, seed)| low_rank(
            shape,
            4 * rank,
            threshold,
            seed
        )),
    ]
}

/// A random low-rank predictor.
fn low_rank(shape: Shape, rank: u32, threshold: f32, seed: u64) -> PredictorChoice {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut random = |rows: u32, cols: u32| {
        let values: Vec<f32> = (0..rows * cols).map(|_| rng.random::<f32>() - 0.5).collect();
        Matrix::new(rows as usize, cols as usize, values)
    };
    let factors = (0..shape.layers).map(|_| Factors {
        projection: random(rank, shape.dim),
        rows: random(shape.neurons, rank),
    });
    let layers = factors.collect();
    let thresholds = vec![vec![threshold; shape.neurons as usize]; shape.layers as usize];
    PredictorChoice::LowRank(LowRank { rank, layers, thresholds })
}

/// Weights in every format, section by section.
pub fn quants() -> impl Strategy<Value = Quants> {
    any::<[prop::sample::Index; SectionKind::ALL.len()]>().prop_map(|formats| {
        let kinds = SectionKind::ALL.into_iter().zip(formats);
        kinds.fold(Quants::Q8, |all, (kind, format)| {
            all.with(&[kind], format.get(&Quant::WEIGHTS).0)
        })
    })
}

/// Orders of the sections: any in which pages come after the bundles.
pub fn orders() -> impl Strategy<Value = Vec<SectionKind>> {
    Just(SectionKind::ALL.to_vec()).prop_shuffle().prop_map(|mut order| {
        let at = |order: &[SectionKind], kind| order.iter().position(|k| *k == kind).unwrap();
        let (ffn, pages) = (at(&order, SectionKind::Ffn), at(&order, SectionKind::Pages));
        if pages < ffn {
            order.swap(ffn, pages);
        }
        order
    })
}

/// Caches, collapse gaps, staging sizes and page buffers.
pub fn options() -> impl Strategy<Value = Options> {
    (
        0..40_000u32,
        0..=1000u32,
        1..6u32,
        0..5u32,
        prop_oneof![Just(0), 0..64u32, Just(u32::MAX)],
        (0..64u32, prop_oneof![Just(0), 0..200u32]),
        prop_oneof![Just(Eviction::S3Fifo), Just(Eviction::Lru)],
        any::<bool>(),
    )
        .prop_map(
            |(
                cache_bytes,
                hot_permille,
                long_run,
                one_in,
                gap,
                (staging, buffer),
                eviction,
                ahead,
            )| {
                Options {
                    context: CONTEXT,
                    staging: BlockCount(staging),
                    page_buffer: BlockCount(buffer),
                    cache_bytes,
                    hot_permille,
                    admission: Admission { long_run, one_in },
                    eviction,
                    collapse_gap: BlockCount(gap),
                    read_ahead: ahead,
                    ..Options::DEFAULT
                }
            },
        )
}
