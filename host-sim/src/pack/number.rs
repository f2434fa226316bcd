//! The number of an image, and its records sealed with it.
//!
//! In: an image whose records say that they are of image 0. Out: a number made of all that they hold, which
//! then stands in the check of each: a record of an image with other contents never passes for one of this.

use super::room::{self, Room};
use crate::placement::Placement;
use anyhow::Result;
use ripple_kernel::image::record::identity;
use ripple_kernel::image::{Crc32, ImagePlan, SectionKind};

/// CRC-32 of the image's sections, which end at `end`, and of the pages that `placement` asks for, which are not
/// written yet.
pub(super) fn number(placement: &Placement, room: &mut dyn Room, end: usize) -> u32 {
    let mut crc = Crc32::new();
    for start in (0..end).step_by(room::PART) {
        let part = start..end.min(start + room::PART);
        crc.update(&room.bytes()[part.clone()]);
        room.release(part);
    }
    let pages = placement.pages();
    for page in (0..pages.map_or(0, |pages| pages.tokens()))
        .flat_map(|token| pages.map_or(&[][..], |pages| pages.of(token)))
    {
        crc.update(&page.ahead.to_le_bytes());
        crc.update(&(page.neurons.len() as u32).to_le_bytes());
        page.neurons.iter().for_each(|neuron| crc.update(&neuron.to_le_bytes()));
    }
    crc.finish()
}

/// Makes the check of every record that is written one of image `number`.
pub(super) fn seal(plan: &ImagePlan, number: u32, room: &mut dyn Room) -> Result<()> {
    for section in plan.sections() {
        let (kind, Some(layout)) = (section.kind, section.layout) else { continue };
        if kind == SectionKind::PageIndex {
            continue;
        }
        let (part, stride) = (section.part.bytes() as usize, layout.stride() as usize);
        room::each_part(room, plan.range(kind), part, |layer, part| {
            let records = part.chunks_exact_mut(stride).take(section.records as usize);
            for (slot, record) in records.enumerate() {
                layout.seal(identity(number, kind as u32, layer as u32, slot as u32), record);
            }
            Ok(())
        })?;
    }
    Ok(())
}
