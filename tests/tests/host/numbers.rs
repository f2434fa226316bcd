//! Images with every check right whose numbers no packer writes: refused on a host by section and record, and no
//! logit of a kernel that reads their scales is infinite or none.

use proptest::prelude::*;
use ripple_hal::Slice;
use ripple_host_sim::cost::Preset;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::machine::{Core, ImageBytes, Machine, Mapped, header, numbers};
use ripple_host_sim::model::Matrix;
use ripple_host_sim::predictor::low_rank::{Factors, LowRank};
use ripple_host_sim::predictor::{Goal, PredictorChoice, Trained};
use ripple_kernel::image::{Header, Image, SectionKind};
use ripple_kernel::{Decoder, MemoryPlan, Options};
use ripple_tests::arbitrary::{image, paged_image, pages};
use ripple_tests::fuzz::seal;
use ripple_tests::tiny::{CONTEXT, Shape, model};

/// Where the numbers of a record begin: behind its check, or behind its header.
fn at(image: &[u8], kind: SectionKind, layer: u32, slot: u32, rows: bool) -> usize {
    let table = Image::new(Header::parse(image).unwrap(), image).table(kind, layer);
    let layout = table.layout;
    let inside = if rows { layout.header_bytes() } else { layout.check_bytes() };
    table.start.0 as usize * 512 + (slot * layout.stride() + inside) as usize
}

fn refused(image: &[u8], kinds: &[SectionKind]) -> Option<String> {
    let found = numbers::check(&Header::parse(image).unwrap(), image, kinds);
    found.err().map(|error| format!("{error:#}"))
}

#[test]
fn vectors_that_are_no_numbers_are_refused_before_a_token() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let good = paged_image(shape, &PredictorChoice::Exact, &[3], pages(shape, &[1, 2], 1));
        assert_eq!(refused(&good, &SectionKind::ALL), None);
        let layers = (0..shape.layers).map(|layer| (SectionKind::LayerVectors, layer));
        for (kind, layer) in layers.chain([(SectionKind::FinalVectors, 0)]) {
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut bad = good.clone();
                let place = at(&bad, kind, layer, 0, true) + 4 * 7;
                bad[place..place + 4].copy_from_slice(&wrong.to_le_bytes());
                seal(&mut bad);
                let part =
                    if kind.per_layer() { format!(", layer {layer}") } else { String::new() };
                let expected =
                    format!("section `{kind}`{part}: record 0 holds {wrong}, expected finite");
                assert!(refused(&bad, &numbers::VECTORS).unwrap().starts_with(&expected));
                let options = Options { context: CONTEXT, ..Options::DEFAULT };
                let (preset, core) = (Preset::by_name("spi").unwrap(), Core::CortexM7);
                let machine =
                    Machine { preset, core, mapped: Mapped::All, stays_open: true, options };
                let image = ImageBytes::from(bad);
                let mut memory = machine.memory(&image, &header(&image).unwrap()).unwrap();
                let error = machine.open(&image, &mut memory).map(|_| ()).unwrap_err();
                assert!(format!("{error:#}").starts_with(&expected), "{error:#}");
            }
        }
    }
}

#[test]
fn scales_and_biases_that_are_infinite_are_refused_where_they_are() {
    let good = image(Shape::OPT, &PredictorChoice::Exact, &[3]);
    for (kind, layer, slot) in
        [(SectionKind::Ffn, 2, 69), (SectionKind::Qkv, 1, 5), (SectionKind::Embedding, 0, 519)]
    {
        let mut bad = good.clone();
        let place = at(&bad, kind, layer, slot, false);
        bad[place..place + 2].copy_from_slice(&0xFC00u16.to_le_bytes());
        seal(&mut bad);
        let said = refused(&bad, &SectionKind::ALL).unwrap();
        assert!(said.contains(&format!("record {slot} holds -inf as a scale")), "{said}");
    }
}

/// JSON has no infinity, but numbers that are one in 32 bits.
#[test]
fn a_predictor_whose_numbers_are_too_large_is_refused_by_place() {
    let model = model(Shape::OPT);
    let (dim, layers, neurons) = (24, 3, 70);
    let matrix = |rows, cols, x| Matrix::new(rows, cols, vec![x; rows * cols]);
    let factors = |_| Factors { projection: matrix(8, dim, 0.5), rows: matrix(neurons, 8, 0.25) };
    let choice = PredictorChoice::LowRank(LowRank {
        rank: 8,
        layers: (0..layers).map(factors).collect(),
        thresholds: vec![vec![-0.125; neurons]; layers],
    });
    let (name, text) = (model.name.clone(), "text".to_owned());
    let trained = Trained { model: name, text, tokens: 9, goal: Goal::Recall(0.9), choice };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor");
    trained.write(&path).unwrap();
    assert!(Trained::read(&path, &model).is_ok());
    let whole = std::fs::read_to_string(&path).unwrap();
    for (name, number) in [("thresholds", "-0.125"), ("projections", "0.5"), ("rows", "0.25")] {
        let at = whole.find(name).unwrap();
        // The last number of layer 1.
        let line = at + whole[at..].match_indices('\n').nth(2).unwrap().0;
        let last = whole[..line].rfind(number).unwrap();
        let bad = [&whole[..last], "4e38", &whole[last + number.len()..]].concat();
        std::fs::write(&path, bad).unwrap();
        let said = format!("{:#}", Trained::read(&path, &model).unwrap_err());
        // A parser that rounds numbers exactly refuses it itself, by its place.
        let by_layer = said.contains(&format!("`{name}` of layer 1"));
        assert!(by_layer || said.contains("number out of range at line"), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Random bits in the place of all numbers of a section: as scales of 16 bits they all stand for numbers.
    #[test]
    fn no_bits_of_a_scale_give_a_logit_that_is_no_number(
        opt: bool,
        kind in proptest::sample::select(vec![
            SectionKind::Predictor, SectionKind::Qkv, SectionKind::Output, SectionKind::Ffn,
            SectionKind::Embedding, SectionKind::Head,
        ]),
        seed in 1..u64::MAX,
        sparse: bool,
    ) {
        let shape = if opt { Shape::OPT } else { Shape::LLAMA };
        let mut bad = image(shape, &PredictorChoice::Exact, &[3]);
        let header = Header::parse(&bad).unwrap();
        let section = header.section(kind);
        let start = section.start.0 as usize * 512;
        let bytes = section.part.0 as usize * header.parts(kind) as usize * 512;
        let mut state = seed;
        for pair in bad[start..start + bytes].as_chunks_mut::<2>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if !sparse || state % 16 == 0 {
                *pair = ((state >> 20) as u16).to_le_bytes();
            }
        }
        seal(&mut bad);
        let options = Options { context: CONTEXT, ..Options::DEFAULT };
        for mapped in [0, bad.len()] {
            let mut memory = HostMemory::new(&MemoryPlan::for_model(&header.geometry, &options));
            let device = Slice::new(&bad);
            let mut decoder =
                Decoder::open(device, &bad[..mapped], memory.lend(), &options, ()).unwrap();
            for token in [1, 4, 0, 5] {
                prop_assert!(decoder.step(token).unwrap().iter().all(|logit| logit.is_finite()));
            }
        }
    }
}
