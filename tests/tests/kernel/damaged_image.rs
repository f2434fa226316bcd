//! Bytes of an image never panic: every damage is a typed error, found before a wrong token.

use proptest::prelude::*;
use ripple_hal::Slice;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_kernel::image::{
    Geometry, Header, ImageError, ImagePlan, Quant, Quants, SectionFault, SectionKind,
};
use ripple_kernel::{Decoder, MemoryPlan, OpenError, Options, StepError};
use ripple_tests::arbitrary::{image_as, paged_image, pages};
use ripple_tests::tiny::{CONTEXT, Shape, model};
use std::sync::LazyLock;

const OPTIONS: Options = Options { context: CONTEXT, cache_bytes: 1000, ..Options::DEFAULT };

fn image(shape: Shape) -> Vec<u8> {
    let placement = Placement::identity("tiny", shape.layers as usize, shape.neurons as usize);
    pack(&model(shape), &placement, &PredictorChoice::Exact, &[]).unwrap()
}

fn memory(image: &[u8]) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, &OPTIONS))
}

/// What the examples of the kernel print of a wrong file.
#[test]
fn a_file_that_is_no_image_is_told_by_what_it_begins_with() {
    let said = |bytes: &[u8]| Header::parse(bytes).unwrap_err().to_string();
    let mut gguf = vec![0; 4096];
    gguf[..5].copy_from_slice(b"GGUF\x03");
    assert_eq!(
        said(&gguf),
        "not a Ripple image: it begins with \"GGUF\\x03\\x00\\x00\\x00\", expected \"RIPPLE\\r\\n\""
    );
    let mut old = image(Shape::LLAMA);
    old[8] -= 1;
    assert!(said(&old).ends_with("; pack the model again"), "{}", said(&old));
}

#[test]
fn every_flipped_header_byte_is_refused() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let good = image(shape);
        let mut memory = memory(&good);
        let header_bytes = Header::parse(&good).unwrap().bytes as usize;
        for at in 0..header_bytes {
            for flip in [1, 0x80, 0xFF] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let opened = Decoder::open(Slice::new(&bad), &[], memory.lend(), &OPTIONS, ());
                match opened.map(|_| ()) {
                    Err(OpenError::Image(_) | OpenError::Memory(_)) => {}
                    other => panic!("byte {at} ^ {flip:#x}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = image(Shape::OPT);
    let mut memory = memory(&good);
    // Within the last block a cut is zeroes, which the check of a record notices.
    let end = good.len() - 511;
    for length in (0..end).step_by(73).chain(end - 100..end) {
        let opened = Decoder::open(Slice::new(&good[..length]), &[], memory.lend(), &OPTIONS, ());
        assert!(matches!(opened, Err(OpenError::Image(_))), "{length} bytes");
    }
}

/// Makes the CRC of a header right again.
fn seal(image: &mut [u8]) {
    let mut crc = ripple_kernel::image::Crc32::new();
    let end = u32::from_le_bytes(image[12..16].try_into().unwrap()) as usize;
    crc.update(&image[20..end.clamp(20, image.len())]);
    let crc = crc.finish();
    image[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// Where the section table is, and how long an entry.
const TABLE: usize = 128;
const ENTRY: usize = 24;

/// An image with what a section table can hold: pages, biases, positions, a head of its own.
fn with_pages() -> Vec<u8> {
    paged_image(Shape::OPT, &PredictorChoice::Exact, &[0], pages(Shape::OPT, &[1, 2], 1))
}

#[test]
fn images_of_other_formats_are_refused_by_name() {
    for version in [0, 1, 2, 3, 4, 5, 6, 99u16] {
        let mut bad = image(Shape::LLAMA);
        bad[8..10].copy_from_slice(&version.to_le_bytes());
        let error = Header::parse(&bad).unwrap_err();
        assert_eq!(error, ImageError::Version { found: version });
        let text = format!("image format version {version}, expected 7; pack the model again");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn every_fault_of_a_section_table_is_refused_by_name() {
    use SectionFault::{End, Entries, Part, Start};
    let good = with_pages();
    let header = Header::parse(&good).unwrap();
    let count = good[10];
    for i in 0..usize::from(count) {
        let at = TABLE + ENTRY * i;
        let kind = SectionKind::try_from(good[at]).unwrap();
        let refused = |word: usize, change: fn(u32) -> u32, fault: SectionFault| {
            let mut bad = good.clone();
            let place = at + 4 * word..at + 4 * word + 4;
            let old = u32::from_le_bytes(bad[place.clone()].try_into().unwrap());
            bad[place].copy_from_slice(&change(old).to_le_bytes());
            seal(&mut bad);
            match Header::parse(&bad) {
                Err(ImageError::Section { kind: k, fault: f, .. }) => {
                    assert!(k == kind && f == fault, "{kind}, word {word}: {k}, {f:?}");
                }
                other => panic!("{kind}, word {word}: {other:?}"),
            }
        };
        if header.geometry.table(kind).is_some() {
            // Number format, rows, bias; columns; records.
            for change in [|form| form ^ 2 << 8, |form| form + (1 << 16), |form| form ^ 1 << 24] {
                refused(0, change, SectionFault::Shape);
            }
            refused(1, |cols| cols + 4, SectionFault::Shape);
            refused(2, |records| records + 1, SectionFault::Shape);
            refused(2, |_| 0, SectionFault::Shape);
            refused(4, |part| part - 1, Part);
        }
        // Into what stands before it, onto the header, and beyond the end.
        refused(3, |start| start - 1, Start);
        refused(3, |_| 0, Start);
        refused(3, |_| u32::MAX, End);
        refused(4, |_| u32::MAX, End);

        // Listed twice, the second time where it does not overlap, and not at all.
        let mut bad = good.clone();
        bad.copy_within(at..at + ENTRY, if i == 0 { TABLE + ENTRY } else { TABLE });
        seal(&mut bad);
        let Err(ImageError::Section { fault: Entries | Start, .. }) = Header::parse(&bad) else {
            panic!("{kind} twice");
        };
        let mut bad = good.clone();
        bad[10] = count - 1;
        bad[12..16].copy_from_slice(&(header.bytes - ENTRY as u32).to_le_bytes());
        bad.copy_within(at + ENTRY..header.bytes as usize, at);
        seal(&mut bad);
        let parsed = Header::parse(&bad);
        if kind == SectionKind::Tokenizer {
            // A model runs without; its text is not known then.
            assert_eq!(parsed.unwrap().section(kind).part.0, 0);
        } else if kind == SectionKind::Ffn {
            // Its pages have no bundles in front of them.
            let Err(ImageError::Section { kind: SectionKind::Pages, fault: Start, .. }) = parsed
            else {
                panic!("{kind} left out: {parsed:?}");
            };
        } else {
            let missing = ImageError::Section { kind, fault: Entries, found: 0, expected: 1 };
            assert_eq!(parsed, Err(missing), "{kind} left out");
        }
    }
    let code = |place: usize, code: u8| {
        let mut bad = good.clone();
        bad[TABLE + place] = code;
        seal(&mut bad);
        Header::parse(&bad)
    };
    assert_eq!(code(0, 13), Err(ImageError::Code { field: "section", found: 13 }));
    let shape = code(ENTRY + 1, 4).unwrap_err();
    assert!(matches!(shape, ImageError::Section { fault: SectionFault::Shape, .. }), "{shape}");
}

#[test]
fn a_plan_is_checked_as_a_header_is() {
    let geometry = Header::parse(&with_pages()).unwrap().geometry;
    let refused = |plan: Result<ImagePlan, ImageError>, kind, fault| match plan {
        Err(ImageError::Section { kind: k, fault: f, .. }) => assert_eq!((k, f), (kind, fault)),
        other => panic!("{kind}: {other:?}"),
    };
    let mut order = SectionKind::ALL;
    order.swap(SectionKind::Ffn as usize, SectionKind::Pages as usize);
    refused(ImagePlan::in_order(&geometry, 100, &order), SectionKind::Pages, SectionFault::Start);
    refused(
        ImagePlan::in_order(&geometry, 100, &[SectionKind::Ffn; 2]),
        SectionKind::Ffn,
        SectionFault::Entries,
    );
    let moved = |change: fn(&mut ripple_kernel::image::PlannedSection)| {
        let mut plan = ImagePlan::standard(&geometry, 100)?;
        change(&mut plan.sections_mut()[4]);
        plan.check().map(|()| plan)
    };
    let kind = SectionKind::Qkv;
    refused(moved(|section| section.start.0 -= 1), kind, SectionFault::Start);
    refused(moved(|section| section.records -= 1), kind, SectionFault::Shape);
    refused(moved(|section| section.part.0 -= 1), kind, SectionFault::Part);
    let signs = geometry.quants.with(&[SectionKind::Ffn], Quant::Sign);
    let plan = ImagePlan::standard(&Geometry { quants: signs, ..geometry }, 100);
    refused(plan, SectionKind::Ffn, SectionFault::Shape);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_section_table_is_sound_or_refused(
        changes in proptest::collection::vec((
            any::<prop::sample::Index>(),
            prop_oneof![any::<u32>(), 0..2000u32, (0..14u32, 0..5u32).prop_map(|(a, b)| a | b << 8)],
        ), 0..4),
        moved in any::<[prop::sample::Index; 2]>(),
    ) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(with_pages);
        let mut bad = GOOD.clone();
        let count = usize::from(bad[10]);
        for (word, value) in changes {
            let at = TABLE + 4 * word.index(count * ENTRY / 4);
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let [a, b] = moved.map(|i| TABLE + ENTRY * i.index(count));
        for i in 0..ENTRY {
            bad.swap(a + i, b + i);
        }
        seal(&mut bad);
        let Ok(header) = Header::parse(&bad) else { return Ok(()) };
        let mut taken = Vec::new();
        for kind in SectionKind::ALL {
            let section = header.section(kind);
            let start = u64::from(section.start.0);
            let length = u64::from(section.part.0) * u64::from(header.parts(kind));
            if let Some((records, layout)) = header.geometry.table(kind) {
                let bytes = u64::from(records) * u64::from(layout.stride());
                prop_assert!(section.part.bytes() >= bytes, "{kind}");
            }
            if length > 0 {
                taken.push(start..start + length);
            }
        }
        taken.sort_by_key(|blocks| blocks.start);
        prop_assert!(taken[0].start * 512 >= header.bytes.into());
        prop_assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start), "{taken:?}");
        prop_assert!(taken[taken.len() - 1].end <= header.blocks.0.into());
    }
}

#[test]
fn headers_that_lie_consistently_never_panic() {
    // The CRC made right again: what is left are the checks of the numbers themselves.
    let good = image(Shape::LLAMA);
    let mut memory = memory(&good);
    let mut refused = 0;
    for at in 20..Header::parse(&good).unwrap().bytes as usize {
        for value in [0, 1, 2, 3, 0x7F, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] = value;
            seal(&mut bad);
            match Decoder::open(Slice::new(&bad), &[], memory.lend(), &OPTIONS, ()) {
                Err(_) => refused += 1,
                Ok(mut decoder) => {
                    for token in [0, 1, 5] {
                        let _ = decoder.step(token);
                    }
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn a_damaged_record_is_noticed_when_it_is_read() {
    let in_format = |quant, shape| {
        let quants = Quants::Q8.with(&SectionKind::ALL, quant);
        image_as(Format::new(&PredictorChoice::Exact, quants), shape, &[0], None)
    };
    let of = |(quant, _)| [Shape::LLAMA, Shape::OPT].map(|shape| in_format(quant, shape));
    for good in Quant::WEIGHTS.map(of).as_flattened() {
        let header = Header::parse(good).unwrap();
        for kind in SectionKind::ALL {
            let Some((count, layout)) = header.geometry.table(kind) else { continue };
            if count == 0 {
                continue;
            }
            // The last record of the first part; for tokens and positions, the ones that are fed.
            let record = match kind {
                SectionKind::Embedding | SectionKind::Positions => 1,
                SectionKind::Ffn => 0,
                _ => count - 1,
            };
            let start = header.section(kind).start.0 as usize * 512;
            let stride = layout.stride() as usize;
            let mut wrong = false;
            // Neurons are only read when they are active: damage them all.
            let damaged = if kind == SectionKind::Ffn { 0..count } else { record..record + 1 };
            let mut bad = good.clone();
            for record in damaged {
                bad[start + record as usize * stride + layout.header_bytes() as usize] ^= 0x10;
            }
            let mut memory = memory(good);
            match Decoder::open(Slice::new(&bad), &[], memory.lend(), &OPTIONS, ()) {
                Err(OpenError::Corrupt { .. }) => wrong = true,
                Err(other) => panic!("{kind:?}: {other:?}"),
                Ok(mut decoder) => {
                    for token in [0, 1] {
                        if let Err(StepError::Corrupt { .. }) = decoder.step(token) {
                            wrong = true;
                        }
                    }
                }
            }
            assert!(wrong, "{kind:?}");
            // The same damage in the mapped prefix is found at open.
            let opened = Decoder::open(Slice::new(&bad), &bad, memory.lend(), &OPTIONS, ());
            assert!(
                matches!(opened, Err(OpenError::Image(ImageError::SectionCrc { kind: k, .. })) if k == kind),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn records_swapped_on_the_card_are_noticed() {
    let good = image(Shape::LLAMA);
    let header = Header::parse(&good).unwrap();
    let stride = header.geometry.bundle_layout().stride() as usize;
    let start = header.section(SectionKind::Ffn).start.0 as usize * 512;
    let mut bad = good.clone();
    for slot in (0..Shape::LLAMA.neurons as usize - 1).step_by(2) {
        let (a, b) = (start + slot * stride, start + (slot + 1) * stride);
        let (first, second) = bad[a..b + stride].split_at_mut(stride);
        first.swap_with_slice(second);
    }
    let mut memory = memory(&good);
    let mut decoder = Decoder::open(Slice::new(&bad), &[], memory.lend(), &OPTIONS, ()).unwrap();
    assert!(matches!(decoder.step(0), Err(StepError::Corrupt { .. })));
}

#[test]
fn a_mapped_prefix_of_another_image_is_refused() {
    let (a, b) = (image(Shape::LLAMA), image(Shape { seed: 2, ..Shape::LLAMA }));
    let mut memory = memory(&a);
    let opened = Decoder::open(Slice::new(&a), &b, memory.lend(), &OPTIONS, ());
    assert!(matches!(opened, Err(OpenError::MappedDiffers { .. })));
}

#[test]
fn memory_that_is_too_small_is_named() {
    use ripple_kernel::{Memory, MemoryError, Region};
    let good = image(Shape::OPT);
    let plan = MemoryPlan::for_model(&Header::parse(&good).unwrap().geometry, &OPTIONS);
    for region in Region::ALL {
        let mut small = plan;
        match region {
            Region::Work => small.work -= 1,
            Region::Staging => small.staging -= 1,
            Region::Cache => small.cache -= 1,
            Region::Index => small.index -= 1,
            Region::Kv => small.kv -= 1,
            _ => panic!("a region of which memory lends nothing: {region}"),
        }
        let mut memory = HostMemory::new(&small);
        let lent: Memory<'_> = memory.lend();
        let error = Decoder::open(Slice::new(&good), &[], lent, &OPTIONS, ()).map(|_| ());
        let needed = plan.region_bytes(region) as u32;
        let given = small.region_bytes(region) as u32;
        assert_eq!(error, Err(OpenError::Memory(MemoryError { region, needed, given })));
    }
}
