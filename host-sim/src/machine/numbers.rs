//! Numbers that no packer writes, in an image whose checks are right all the same.
//!
//! In: an image. Out: the first record that holds such a number. The kernel computes with what passes its checks,
//! so that a board does not look at each number again; whoever takes in an image from elsewhere does, here.

use crate::process::failure::bad_input;
use anyhow::{Result, anyhow};
use half::f16;
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::{Header, Image, Quant, RecordLayout, SectionKind};

/// The sections that are floats: norms, biases of outputs, thresholds, rotary frequencies. They are small; and of
/// what the kernel reads only they can be infinite, because it widens scales and biases to numbers whatever they
/// are.
pub const VECTORS: [SectionKind; 2] = [SectionKind::LayerVectors, SectionKind::FinalVectors];

/// Refuses vectors, scales and biases that are infinite or no numbers, in the sections of `kinds`.
///
/// # Errors
/// The first record that holds one, by its section and layer.
pub fn check(header: &Header, image: &[u8], kinds: &[SectionKind]) -> Result<()> {
    let view = Image::new(*header, image);
    for &kind in kinds {
        for layer in 0..header.parts(kind) {
            let table = view.table(kind, layer);
            let stride = table.layout.stride() as usize;
            let start = table.start.0 as usize * BLOCK_BYTES;
            let records = image.get(start..).unwrap_or_default().chunks_exact(stride.max(1));
            for (slot, record) in (0..table.mapped_records).zip(records) {
                let Some(found) = wrong(kind, &table.layout, record) else { continue };
                let part =
                    if kind.per_layer() { format!(", layer {layer}") } else { String::new() };
                return Err(bad_input(anyhow!(
                    "section `{kind}`{part}: record {slot} holds {found}, expected finite numbers; no `ripple \
                     pack` has written it: pack the model again"
                )));
            }
        }
    }
    Ok(())
}

/// What a record holds that it must not.
fn wrong(kind: SectionKind, layout: &RecordLayout, record: &[u8]) -> Option<String> {
    let (header, rows) = record.split_at(layout.header_bytes() as usize);
    if layout.quant == Quant::F32 {
        // Beside floats the one scale says nothing; and the page index holds the bits of integers.
        let words = rows.as_chunks().0.iter().filter(|_| kind != SectionKind::PageIndex);
        let mut numbers = words.map(|word| f32::from_le_bytes(*word));
        return numbers.find(|x| !x.is_finite()).map(|x| x.to_string());
    }
    let numbers = header.get(layout.check_bytes() as usize..).unwrap_or_default();
    let mut halves = numbers.as_chunks().0.iter().map(|half| f16::from_le_bytes(*half));
    halves
        .find(|half| !half.is_finite())
        .map(|half| format!("{half} as a scale, a threshold or a bias"))
}
