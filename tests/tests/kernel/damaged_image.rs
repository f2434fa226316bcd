//! Bytes of an image never panic: every damage is a typed error, found before a wrong token.

use ripple_hal::Slice;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::pack::pack;
use ripple_host_sim::placement::Placement;
use ripple_host_sim::predictor::{Format, PredictorChoice};
use ripple_kernel::image::{FourBits, Header, ImageError, SectionKind};
use ripple_kernel::{Decoder, MemoryPlan, OpenError, Options, StepError};
use ripple_tests::arbitrary::image_as;
use ripple_tests::tiny::{CONTEXT, Shape, model};

const OPTIONS: Options = Options { context: CONTEXT, cache_bytes: 1000, ..Options::DEFAULT };

fn image(shape: Shape) -> Vec<u8> {
    let placement = Placement::identity("tiny", shape.layers as usize, shape.neurons as usize);
    pack(&model(shape), &placement, &PredictorChoice::Exact, &[]).unwrap()
}

fn memory(image: &[u8]) -> HostMemory {
    HostMemory::new(&MemoryPlan::for_model(&Header::parse(image).unwrap().geometry, &OPTIONS))
}

#[test]
fn every_flipped_header_byte_is_refused() {
    for shape in [Shape::LLAMA, Shape::OPT] {
        let good = image(shape);
        let mut memory = memory(&good);
        let header_bytes = Header::bytes(shape.layers) as usize;
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

#[test]
fn headers_that_lie_consistently_never_panic() {
    // The CRC made right again: what is left are the checks of the numbers themselves.
    let good = image(Shape::LLAMA);
    let mut memory = memory(&good);
    let crc = |image: &mut [u8]| {
        let mut crc = ripple_kernel::image::Crc32::new();
        let end = u32::from_le_bytes(image[12..16].try_into().unwrap()) as usize;
        crc.update(&image[20..end.clamp(20, image.len())]);
        let crc = crc.finish();
        image[16..20].copy_from_slice(&crc.to_le_bytes());
    };
    let mut refused = 0;
    for at in 20..Header::bytes(Shape::LLAMA.layers) as usize {
        for value in [0, 1, 2, 3, 0x7F, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] = value;
            crc(&mut bad);
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
    let four_bits = FourBits { attention: true, ffn: true, head: true };
    let in_four_bits = |shape| {
        let format = Format { predictor: &PredictorChoice::Exact, four_bits };
        image_as(format, shape, &[0], None)
    };
    let (llama, opt) = (Shape::LLAMA, Shape::OPT);
    for good in [image(llama), image(opt), in_four_bits(llama), in_four_bits(opt)] {
        let header = Header::parse(&good).unwrap();
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
            let mut memory = memory(&good);
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
        }
        let mut memory = HostMemory::new(&small);
        let lent: Memory<'_> = memory.lend();
        let error = Decoder::open(Slice::new(&good), &[], lent, &OPTIONS, ()).map(|_| ());
        let needed = plan.region_bytes(region) as u32;
        let given = small.region_bytes(region) as u32;
        assert_eq!(error, Err(OpenError::Memory(MemoryError { region, needed, given })));
    }
}
