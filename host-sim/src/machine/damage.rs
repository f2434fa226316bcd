//! A damaged record by the name of its section.
//!
//! In: a header, and where the record lies. Out: what it is of, and the fix. Knows nothing of devices.

use crate::process::failure::bad_input;
use anyhow::anyhow;
use ripple_hal::BlockIdx;
use ripple_kernel::image::{Header, SectionKind};

/// Names the section of a record that arrived damaged, and the fix.
pub(crate) fn damaged(header: &Header, table: BlockIdx, slot: u32) -> anyhow::Error {
    bad_input(anyhow!(damage(header, table, slot)))
}

fn damage(header: &Header, table: BlockIdx, slot: u32) -> String {
    let holds = |kind: &SectionKind| {
        let section = header.section(*kind);
        let end = section.start.0 + section.part.0 * header.parts(*kind);
        (section.start.0..end).contains(&table.0)
    };
    let Some(kind) = SectionKind::ALL.into_iter().find(holds) else {
        return format!("record {slot} of the table at block {} is damaged", table.0);
    };
    let section = header.section(kind);
    let part = (table.0 - section.start.0) / section.part.0.max(1);
    let layer = if kind.per_layer() { format!(", layer {part}") } else { String::new() };
    format!("section `{kind}`{layer}: record {slot} is damaged; copy the image again")
}
