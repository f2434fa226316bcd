//! No configuration a header may hold and no damage makes the kernel panic,
//! wrap, or give logits of a step that did not happen.

use proptest::prelude::*;
use ripple_hal::{BlockCount, Slice};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::PredictorChoice;
use ripple_kernel::image::{
    Bundle, Geometry, Header, ImageError, ImagePlan, Predictor, Quant, Quants, SectionKind,
};
use ripple_kernel::memory::cache::{Admission, Eviction};
use ripple_kernel::{
    Activation, AttentionBias, Decoder, Ffn, KvKind, MemoryPlan, ModelConfig, Norm, OpenError,
    Options, Position, Region, Variant,
};
use ripple_tests::tiny::{CONTEXT, Shape, model};

const OPTIONS: Options =
    Options { context: CONTEXT, cache_bytes: 2000, hot_permille: 500, ..Options::DEFAULT };

fn image(shape: Shape) -> Vec<u8> {
    let placement = Placement::identity("tiny", shape.layers as usize, shape.neurons as usize);
    pack(&model(shape), &placement, &PredictorChoice::Exact, &[]).unwrap()
}

fn memory(image: &[u8]) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, &OPTIONS))
}

/// Numbers up to `most`, the ends more often than chance has it.
fn up_to(most: u32) -> impl Strategy<Value = u32> {
    prop_oneof![2 => 1..=most, 1 => Just(most), 1 => Just(most - 1), 1 => 1..=most.min(4)]
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let sizes = (
        up_to(4096),
        up_to(256),
        up_to(65535),
        (up_to(256), up_to(256)),
        up_to(128),
        up_to(1 << 20),
        up_to(65536),
    );
    let kinds = (any::<[bool; 10]>(), 0..10u32);
    (sizes, kinds).prop_map(|(sizes, ([a, b, c, d, e, f, g, h, i, j], planes))| {
        let (dim, layers, neurons, (kv_heads, group), head_dim, vocab, context) = sizes;
        let heads = kv_heads * group.min(256 / kv_heads);
        let head_dim = head_dim.min(16384 / 4 / heads);
        let predictor = match planes {
            0 => Predictor::Exact,
            8 => Predictor::LowRank { rank: 252 },
            9 => Predictor::LowRank { rank: 4 },
            planes => Predictor::Signs { planes },
        };
        let ffn = if c { Ffn::Gated } else { Ffn::Plain };
        let rest = g && planes == 0;
        let format = |other: bool, grouped: bool| match (other, grouped) {
            (false, _) => Quant::Q8,
            (true, false) => Quant::Q4,
            (true, true) => Quant::Q8G,
        };
        let quants = Quants::Q8
            .with(&[SectionKind::Qkv, SectionKind::Positions], format(h, a))
            .with(&[SectionKind::Ffn, SectionKind::Projection], format(i, b))
            .with(
                &[SectionKind::Embedding, SectionKind::Head, SectionKind::Predictor],
                format(j, d),
            );
        Geometry {
            config: ModelConfig {
                dim: 4 * dim,
                layers,
                neurons,
                heads,
                kv_heads,
                head_dim: 4 * head_dim,
                vocab,
                context,
                norm: if a { Norm::Rms } else { Norm::Layer },
                norm_eps: 1e-5,
                position: if b { Position::Rope } else { Position::Learned },
                ffn,
                attention_bias: AttentionBias { query: d, key: e, value: e != d, output: f },
                ffn_bias: e,
                tied_head: f,
                activation: Activation::Relu,
                variant: Variant::NONE,
                threshold: 0.0,
            },
            bundle: if rest { Bundle::without_first(ffn) } else { Bundle::whole(ffn) },
            predictor,
            quants,
            page_blocks: BlockCount(u32::from(g)),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    // Overflow checks are on in this profile: a sum that wraps is a panic here.
    #[test]
    fn sizes_of_any_model_are_exact(
        geometry in geometries(),
        context in prop_oneof![any::<u32>(), up_to(65536)],
        staging in any::<u32>(),
        buffer in any::<u32>(),
        cache_bytes in any::<u32>(),
        batch in any::<u32>(),
        tokenizer_bytes in any::<u32>(),
        eight_bits in any::<bool>(),
    ) {
        let c = geometry.config;
        prop_assert_eq!(c.check(), Ok(()));
        let kv = if eight_bits { KvKind::Q8 } else { KvKind::F16 };
        let options = Options {
            context, kv, staging: BlockCount(staging), page_buffer: BlockCount(buffer), cache_bytes, hot_permille: u32::MAX,
            admission: Admission::ALL, eviction: Eviction::S3Fifo, collapse_gap: BlockCount(u32::MAX),
            batch, spill: 0, read_ahead: true, verify: true,
        };
        let plan = MemoryPlan::for_model(&geometry, &options);
        let head_dim = u128::from(c.head_dim);
        let vector = if eight_bits { head_dim + 4 } else { 2 * head_dim };
        let positions = u128::from(context.min(c.context)) * u128::from(c.layers);
        prop_assert_eq!(
            plan.region_bytes(Region::Kv) as u128, 2 * u128::from(c.kv_heads) * vector * positions
        );
        prop_assert!(plan.region_bytes(Region::Cache) <= cache_bytes as usize);
        let buffered = if geometry.page_blocks.0 > 0 { buffer as usize } else { 0 };
        prop_assert!((plan.staging - buffered) / 2 >= (staging / 2) as usize);
        let all = Region::ALL.map(|region| plan.region_bytes(region)).iter().sum::<usize>();
        prop_assert_eq!(plan.bytes(), all);

        // No section overlaps the next one: the image is as long as its parts together.
        if let Ok(plan) = ImagePlan::standard(&geometry, tokenizer_bytes) {
            let mut end = 0;
            for section in plan.sections() {
                let range = plan.range(section.kind);
                let first = end == 0 && range.start > 0;
                prop_assert!(first || range.start == end);
                let parts = if section.kind.per_layer() { u128::from(c.layers) } else { 1 };
                if let Some((count, layout)) = geometry.table(section.kind) {
                    let bytes = u128::from(count) * u128::from(layout.stride());
                    prop_assert_eq!(range.len() as u128, bytes.div_ceil(512) * 512 * parts);
                    prop_assert!(bytes <= u128::from(u32::MAX));
                }
                end = range.end;
            }
            prop_assert_eq!(end as u64, plan.blocks().bytes());
        }
    }
}

#[test]
fn damage_in_a_section_that_is_mapped_in_part_is_noticed_at_open() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let good = image(shape);
        let header = Header::parse(&good).unwrap();
        let mut memory = memory(&good);
        for kind in SectionKind::ALL {
            let Some((count, layout)) = header.geometry.table(kind) else { continue };
            let section = header.section(kind);
            let stride = layout.stride() as usize;
            // Up to the middle of the last part, but not to its end.
            let layer = header.parts(kind) - 1;
            let part = (section.start.0 + layer * section.part.0) as usize * 512;
            let records = count as usize / 2;
            if records == 0 || section.part.0 == 0 {
                continue;
            }
            let mapped = part + records * stride + stride / 2;
            let open = |image: &[u8], memory: &mut HostMemory| {
                let device = Slice::new(&good);
                Decoder::open(device, &image[..mapped], memory.lend(), &OPTIONS, ()).map(|_| ())
            };
            assert_eq!(open(&good, &mut memory), Ok(()), "{kind}");
            let mut bad = good.clone();
            bad[part + records * stride - 1] ^= 4;
            let record = ImageError::Record { kind, layer, slot: records as u32 - 1 };
            assert_eq!(open(&bad, &mut memory), Err(OpenError::Image(record)), "{kind}");
            // Behind the last whole record nothing is used, so nothing is wrong.
            let mut bad = good.clone();
            bad[mapped - 1] ^= 4;
            assert_eq!(open(&bad, &mut memory), Ok(()), "{kind}");
        }
    }
}

#[test]
fn a_header_length_that_no_model_has_is_the_images_fault() {
    let mut bad = image(Shape::OPT);
    bad[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut memory = memory(&image(Shape::OPT));
    let mut lent = memory.lend();
    // Less staging than the largest header: more of it would not help.
    lent.staging = &mut lent.staging[..1];
    let opened = Decoder::open(Slice::new(&bad), &[], lent, &OPTIONS, ()).map(|_| ());
    let error = ImageError::HeaderLength { needed: u32::MAX, found: 512 };
    assert_eq!(opened, Err(OpenError::Image(error)));
}
