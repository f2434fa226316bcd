//! What the check of a record notices: everything it promises, and the rate at which other damage passes.

use proptest::prelude::*;
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{Quant, RecordLayout};

/// Layouts of both widths of the check, and their records: a row of attention, bundles, vectors, 4 bits.
fn layouts() -> [RecordLayout; 8] {
    let layout = |quant, rows, cols, bias| RecordLayout { quant, rows, cols, bias };
    [
        layout(Quant::Q8, 1, 64, false),
        layout(Quant::Q8, 2, 64, false),
        layout(Quant::Q8, 3, 96, false),
        layout(Quant::Q8, 1, 40, true),
        layout(Quant::F32, 1, 33, false),
        layout(Quant::Q4, 2, 64, false),
        layout(Quant::Q8, 1, 1024, false),
        layout(Quant::Q8G, 2, 100, true),
    ]
}

/// A record of random numbers.
fn record(layout: &RecordLayout, identity: u32, random: &mut impl FnMut() -> u32) -> Vec<u8> {
    let rows: Vec<Vec<f32>> = (0..layout.rows)
        .map(|_| (0..layout.cols).map(|_| (random() % 255) as f32 - 127.0).collect())
        .collect();
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let mut bytes = vec![0; layout.stride() as usize];
    layout.emit(&rows, 0.5, identity, &mut bytes);
    bytes
}

/// Numbers that pass for random ones (xorshift of 64 bits).
fn random(mut state: u64) -> impl FnMut() -> u32 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    }
}

fn is(layout: &RecordLayout, identity: u32, bytes: &[u8]) -> bool {
    layout.view(bytes).unwrap().is(identity)
}

#[test]
fn a_check_has_four_bytes_where_they_cost_nothing_or_the_record_is_long() {
    let widths = layouts().map(|layout| layout.check_bytes());
    assert_eq!(widths, [2, 4, 2, 4, 2, 4, 4, 2]);
    for layout in layouts() {
        assert!(layout.header_bytes().is_multiple_of(4));
    }
}

proptest! {
    /// Two flipped bits anywhere, three anywhere, an odd number, and a burst.
    #[test]
    fn what_is_promised_is_noticed(
        which in 0..8usize,
        seed in 1..u64::MAX,
        number: u32,
        bits in proptest::collection::vec(any::<prop::sample::Index>(), 1..8),
        start: prop::sample::Index,
        burst in 1..=u32::MAX,
    ) {
        let layout = layouts()[which];
        let id = identity(number, 3, 1, 7);
        let good = record(&layout, id, &mut random(seed));
        prop_assert!(is(&layout, id, &good));
        let count = good.len() * 8;
        let mut places: Vec<_> = bits.iter().map(|bit| bit.index(count)).collect();
        places.sort_unstable();
        places.dedup();
        if places.len() < 4 || places.len() % 2 == 1 {
            let mut bad = good.clone();
            places.iter().for_each(|bit| bad[bit / 8] ^= 1 << (bit % 8));
            prop_assert!(!is(&layout, id, &bad), "{places:?}");
        }
        // A burst in the rows, behind the check: as many bits as the check has.
        let width = 8 * layout.check_bytes() as usize;
        let from = layout.header_bytes() as usize * 8;
        let first = from + start.index(count - from - 31);
        let mut bad = good.clone();
        for bit in (0..width).filter(|bit| burst >> bit & 1 != 0) {
            bad[(first + bit) / 8] ^= 1 << ((first + bit) % 8);
        }
        prop_assert_eq!(is(&layout, id, &bad), bad == good);
    }

    /// A record of a neighbour, of another layer or section; with 4 bytes, of any other image too.
    #[test]
    fn a_record_of_another_place_never_passes(
        which in 0..7usize,
        seed in 1..u64::MAX,
        numbers: [u32; 2],
        slots in [0..u32::from(u16::MAX), 0..u32::from(u16::MAX)],
        other in (0..12u32, 0..64u32),
    ) {
        let layout = layouts()[which];
        let id = identity(numbers[0], 3, 1, slots[0]);
        let good = record(&layout, id, &mut random(seed));
        let neighbour = identity(numbers[0], 3, 1, slots[1]);
        prop_assert_eq!(is(&layout, neighbour, &good), neighbour == id);
        if layout.check_bytes() == 4 {
            let elsewhere = identity(numbers[0], other.0, other.1, slots[0]);
            let image = identity(numbers[1], 3, 1, slots[0]);
            prop_assert_eq!(is(&layout, elsewhere, &good), elsewhere == id);
            prop_assert_eq!(is(&layout, image, &good), image == id);
        }
    }
}

/// How many of so many records that are damaged in one of three ways pass.
fn passed(layout: &RecordLayout, records: u64, kind: u32) -> u64 {
    let mut random = random(0x9E37_79B9 + u64::from(kind));
    let id = identity(0x1234_5678, 3, 1, 7);
    let good = record(layout, id, &mut random);
    let other = record(layout, id ^ 0x8765_4321, &mut random);
    let mut bad = good.clone();
    let mut passed = 0;
    for _ in 0..records {
        bad.copy_from_slice(&good);
        match kind {
            // Four flipped bits.
            0 => (0..4).for_each(|_| {
                let bit = random() as usize % (8 * bad.len());
                bad[bit / 8] ^= 1 << (bit % 8);
            }),
            // Bytes that are anything from some byte on, as after a slipped transfer.
            1 => {
                let from = random() as usize % (bad.len() - 3);
                bad[from..].iter_mut().for_each(|byte| *byte = random() as u8);
            }
            // The front of one record and the back of another one of the same place in another image.
            _ => {
                let from = random() as usize % (bad.len() - 1);
                bad[from..].copy_from_slice(&other[from..]);
                let byte = random() as usize % bad.len();
                bad[byte] = random() as u8;
            }
        }
        passed += u64::from(bad != good && is(layout, id, &bad));
    }
    passed
}

fn rates(records: u64) {
    for layout in layouts() {
        let width = 8 * layout.check_bytes();
        for (kind, name) in ["four bits", "a slipped transfer", "two images"].iter().enumerate() {
            let passed = passed(&layout, records, kind as u32);
            println!(
                "{:?} x {} of {}: {width} bits, {name}: {passed} of {records} pass",
                layout.quant, layout.rows, layout.cols
            );
            // Twice what chance would pass, for an even number of flips, and room for few.
            let expected = 2.0 * records as f64 / 2f64.powi(width as i32);
            let most = expected + 6.0 * expected.sqrt() + 3.0;
            assert!(passed as f64 <= most, "{passed} > {most}");
        }
    }
}

#[test]
fn other_damage_passes_no_more_often_than_chance() {
    rates(20_000);
}

#[test]
#[ignore = "10^8 damaged records of each kind take minutes"]
fn campaign_other_damage_passes_no_more_often_than_chance() {
    rates(100_000_000);
}
