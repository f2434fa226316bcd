//! Adapters beside the rows of an image: what a decoder makes of them, and the file they come in.

use crate::common::{Golden, KINDS, OPTIONS, geometry, with_tuner};
use ripple_hal::Slice;
use ripple_host_sim::machine::adapter::Saved;
use ripple_host_sim::machine::memory::HostMemory;
use ripple_host_sim::tune::merge::merge;
use ripple_kernel::adapter::{Adapter, AdapterError, AdapterFile, AdapterShape};
use ripple_kernel::image::Header;
use ripple_kernel::{Decoder, MemoryPlan, Options};

/// The logits after each token but the last, `batch` tokens a pass.
fn logits(golden: &Golden, adapters: Option<&[f32]>, batch: u32) -> Vec<Vec<f32>> {
    let image = golden.image(false);
    let options = Options { context: 32, batch, ..Options::DEFAULT };
    let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry(&image), &options));
    let mut inner = vec![f32::NAN; (batch * OPTIONS.rank) as usize];
    let mut decoder = Decoder::open(Slice::new(&image), &[], memory.lend(), &options, ()).unwrap();
    let shape = OPTIONS.adapter();
    let adapter = adapters.map(|numbers| Adapter { shape, numbers, inner: &mut inner });
    decoder.set_adapter(adapter).unwrap();
    let (_, tokens) = golden.tokens.split_last().unwrap();
    let mut all = Vec::new();
    for i in 0..tokens.len() {
        decoder.rewind(0);
        all.push(decoder.prefill(&tokens[..=i]).unwrap().to_vec());
    }
    all
}

fn loss(golden: &Golden, logits: &[Vec<f32>]) -> f64 {
    let losses = logits.iter().zip(&golden.tokens[1..]).map(|(z, &label)| {
        let most = z.iter().fold(f32::NEG_INFINITY, |most, z| most.max(*z));
        let sum: f64 = z.iter().map(|z| f64::from(z - most).exp()).sum();
        sum.ln() + f64::from(most - z[label as usize])
    });
    losses.sum::<f64>() / logits.len() as f64
}

#[test]
fn a_decoder_with_them_is_the_model_that_was_trained() {
    for kind in KINDS {
        let golden = Golden::load(kind);
        let adapters: Vec<f32> = golden.adapters().iter().map(|x| *x as f32).collect();
        let (expected, _) = golden.expected("grad");
        let found = loss(&golden, &logits(&golden, Some(&adapters), 1));
        let without = loss(&golden, &logits(&golden, None, 1));
        // Inputs are in 8 bits there; without adapters the loss is another.
        let (error, change) = ((found - expected).abs(), (without - expected).abs());
        assert!(error < 0.01 * expected, "{kind}: {found}, not {expected}");
        assert!(
            change > 5.0 * error,
            "{kind}: {without} without, {found} with, {expected} exactly"
        );
    }
}

/// A tuner's own logits are of the floats, so that they lack nothing: their loss is that of automatic
/// differentiation.
#[test]
fn the_logits_of_a_tuner_are_the_model_s() {
    for kind in KINDS {
        let golden = Golden::load(kind);
        let (expected, _) = golden.expected("grad");
        let adapters: Vec<f32> = golden.adapters().iter().map(|x| *x as f32).collect();
        let found = with_tuner::<f32, _>(&golden.image(false), &OPTIONS, |tuner| {
            assert!(tuner.set_adapters(&adapters));
            let mut rows = Vec::new();
            let see = &mut |v: usize, z: &[f32]| {
                assert_eq!(v, rows.len());
                rows.push(z.to_vec());
            };
            tuner.logits(&golden.tokens, see).unwrap();
            let of = |token: usize| rows.iter().map(|row| row[token]).collect::<Vec<_>>();
            (0..golden.tokens.len() - 1).map(of).collect::<Vec<_>>()
        });
        let found = loss(&golden, &found);
        assert!((found - expected).abs() < 2e-6 * expected, "{kind}: {found}, not {expected}");
    }
}

#[test]
fn passes_of_any_length_give_the_same_bits() {
    for kind in ["relu", "opt"] {
        let golden = Golden::load(kind);
        let adapters: Vec<f32> = golden.adapters().iter().map(|x| *x as f32).collect();
        let one = logits(&golden, Some(&adapters), 1);
        for batch in [3, 21] {
            assert!(logits(&golden, Some(&adapters), batch) == one, "{kind}, {batch}");
        }
    }
}

#[test]
fn those_that_were_only_begun_change_no_bit() {
    let golden = Golden::load("relu");
    let begun = with_tuner::<f32, _>(&golden.image(false), &OPTIONS, |tuner| {
        tuner.begin(3);
        tuner.adapters().to_vec()
    });
    assert!(begun.iter().any(|x| *x != 0.0));
    assert!(logits(&golden, Some(&begun), 1) == logits(&golden, None, 1));
}

#[test]
fn too_few_numbers_and_too_little_scratch_are_refused() {
    let golden = Golden::load("relu");
    let image = golden.image(false);
    let options = Options { context: 32, batch: 4, ..Options::DEFAULT };
    let numbers: Vec<f32> = golden.adapters().iter().map(|x| *x as f32).collect();
    let refused = |numbers: &[f32], scratch: usize| {
        let mut memory = HostMemory::new(&MemoryPlan::for_model(&geometry(&image), &options));
        let mut inner = vec![0.0; scratch];
        let mut decoder =
            Decoder::open(Slice::new(&image), &[], memory.lend(), &options, ()).unwrap();
        let adapter = Adapter { shape: OPTIONS.adapter(), numbers, inner: &mut inner };
        decoder.set_adapter(Some(adapter)).map_err(|error| error.to_string())
    };
    assert_eq!(refused(&numbers, 8), Ok(()));
    let field = |field, found, expected| {
        Err(format!("`{field}` of the adapter is {found}, expected {expected}"))
    };
    assert_eq!(refused(&numbers, 7), field("inner", 7, 8));
    assert_eq!(refused(&numbers[1..], 8), field("numbers", 959, 960));
}

/// A file of the golden's adapters, and the header of its image.
fn file(kind: &str) -> (Vec<u32>, Header) {
    let golden = Golden::load(kind);
    let image = golden.image(false);
    let header = Header::parse(&image).unwrap();
    let numbers: Vec<f32> = golden.adapters().iter().map(|x| *x as f32).collect();
    let file = AdapterFile { shape: OPTIONS.adapter(), steps: 9, numbers: &numbers };
    let mut words = file.header(&header).to_vec();
    words.extend(numbers.iter().map(|x| x.to_bits()));
    (words, header)
}

#[test]
fn a_file_comes_back_and_every_flipped_bit_is_noticed() {
    let (mut words, header) = file("relu");
    let found = AdapterFile::parse(&words, &header).unwrap();
    assert_eq!((found.shape, found.steps, found.numbers.len()), (OPTIONS.adapter(), 9, 960));
    for bit in 0..words.len() * 32 {
        words[bit / 32] ^= 1 << (bit % 32);
        assert!(AdapterFile::parse(&words, &header).is_err(), "bit {bit}");
        words[bit / 32] ^= 1 << (bit % 32);
    }
    for length in 0..words.len() {
        assert!(AdapterFile::parse(&words[..length], &header).is_err(), "{length} words");
    }
}

#[test]
fn another_image_and_another_shape_are_refused_by_name() {
    let (words, header) = file("relu");
    let (_, other) = file("silu");
    let expected = AdapterError::Image { expected: other.crc, found: header.crc };
    assert_eq!(AdapterFile::parse(&words, &other), Err(expected));
    let numbers = [0.0; 960];
    let field = |shape| {
        let file = AdapterFile { shape, steps: 0, numbers: &numbers };
        let mut words = file.header(&header).to_vec();
        words.extend([0; 960]);
        AdapterFile::parse(&words, &header).unwrap_err().to_string()
    };
    let shape = OPTIONS.adapter();
    let rank = AdapterShape { rank: 3, ..shape };
    assert_eq!(field(rank), "`numbers` of the adapter is 960, expected 1440");
    let rank = AdapterShape { rank: 0, ..shape };
    assert_eq!(field(rank), "`rank` of the adapter is 0, expected 256");
    let alpha = AdapterShape { alpha: f32::NAN, ..shape };
    assert!(field(alpha).starts_with("`alpha` of the adapter is "));
}

#[test]
fn merged_they_are_the_model_that_was_trained() {
    for kind in ["relu", "opt"] {
        let mut golden = Golden::load(kind);
        let numbers = golden.adapters().iter().map(|x| *x as f32).collect();
        let (expected, _) = golden.expected("grad");
        let without = loss(&golden, &logits(&golden, None, 1));
        merge(&mut golden.model, &Saved { shape: OPTIONS.adapter(), steps: 0, numbers });
        let found = loss(&golden, &logits(&golden, None, 1));
        // Rows are in 8 bits again, on another grid.
        let (error, change) = ((found - expected).abs(), (without - expected).abs());
        assert!(error < 0.02 * expected && change > 3.0 * error, "{kind}: {found}, {expected}");
    }
}
