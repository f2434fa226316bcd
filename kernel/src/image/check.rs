//! The check of a section table: what [`Header::parse`](super::Header::parse) refuses on a board, and
//! [`ImagePlan::check`](super::ImagePlan::check) on a host.
//!
//! In: the table's entries and the model. Out: where each section is, once it is sure that those the
//! model needs are there, with shapes that fit it, apart from each other.

use super::error::ImageError;
use super::geometry::Geometry;
use super::quant::Quant;
use super::raw::{RawSection, code};
use super::section::{Section, SectionFault, SectionKind};
use ripple_hal::{BlockCount, BlockIdx};

/// Where all sections are.
pub(super) type Sections = [Section; SectionKind::ALL.len()];

/// Fills `sections` with those that `entries` list, in the order of their blocks, for a model of
/// `geometry`, of whose weights they say the formats.
///
/// `end`: of the header. `blocks`: of the whole image.
#[inline(never)]
pub(super) fn check(
    geometry: &mut Geometry,
    entries: &[RawSection],
    mut end: BlockCount,
    blocks: BlockCount,
    sections: &mut Sections,
) -> Result<(), ImageError> {
    let mut seen = 0u32;
    let bit = |kind: SectionKind| 1 << kind as u32;
    // The scales of an FFN's outputs stand before it.
    #[cfg(feature = "grouped")]
    for entry in entries {
        let [kind, quant, ..] = entry.form.get().to_le_bytes();
        if let (Ok(kind), Ok(quant)) = (SectionKind::try_from(kind), Quant::try_from(quant)) {
            geometry.quants.set(kind, quant);
        }
    }
    for entry in entries {
        let [kind, quant, ..] = entry.form.get().to_le_bytes();
        let kind: SectionKind = code("section", kind)?;
        // A format that there is not is none that fits.
        if let Ok(quant) = Quant::try_from(quant) {
            if let Some(feature) = quant.missing_feature() {
                return Err(ImageError::Feature { feature });
            }
            geometry.quants.set(kind, quant);
        }
        let (found, layout) = (entry.records.get(), geometry.table(kind));
        let (records, cols) = layout.map_or((0, 0), |(records, layout)| (records, layout.cols));
        let form = RawSection::form(kind, layout.as_ref().map(|(_, layout)| layout));
        let shape = if found != records {
            (found, records)
        } else if entry.cols.get() != cols {
            (entry.cols.get(), cols)
        } else {
            (entry.form.get(), form)
        };
        let least = geometry.table_blocks(kind).0;
        let (start, part) = (entry.start.get(), entry.part.get());
        let parts = if kind.per_layer() { geometry.config.layers } else { 1 };
        let most = blocks.0.saturating_sub(start).checked_div(parts).unwrap_or(0);
        if kind == SectionKind::Pages && seen & bit(SectionKind::Ffn) == 0 {
            end = BlockCount(u32::MAX);
        }
        // A table is addressed in 32 bits; pages are addressed by block alone.
        let wide = least > u32::MAX >> 9 && kind != SectionKind::Pages;
        let (fault, found, expected) = if seen & bit(kind) != 0 {
            (SectionFault::Entries, 2, 1)
        } else if start < end.0 {
            (SectionFault::Start, start, end.0)
        } else if part > most || start > blocks.0 {
            (SectionFault::End, part, most)
        } else if shape.0 != shape.1 {
            (SectionFault::Shape, shape.0, shape.1)
        } else if part < least || wide {
            (SectionFault::Part, part, least)
        } else {
            if let Some(section) = sections.get_mut(kind.index()) {
                let (start, part) = (BlockIdx(start), BlockCount(part));
                *section = Section { start, part, crc: entry.crc.get() };
            }
            seen |= bit(kind);
            end = BlockCount(start + part * parts);
            continue;
        };
        return Err(ImageError::Section { kind, fault, found, expected });
    }
    for kind in SectionKind::ALL {
        if geometry.table_blocks(kind).0 > 0 && seen & bit(kind) == 0 {
            let (fault, found, expected) = (SectionFault::Entries, 0, 1);
            return Err(ImageError::Section { kind, fault, found, expected });
        }
    }
    Ok(())
}
