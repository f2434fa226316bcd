//! Which sections stand in front of the bundles, where a board maps them from flash.
//!
//! In: a geometry, a board with its flash, a card. Out: an order. What a block of flash saves of the card's time
//! decides who stands there; where all of them fit the order is the standard one.

use super::records::Apart;
use crate::cost::Preset;
use anyhow::{Result, anyhow};
use ripple_app::Board;
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::{Geometry, ImagePlan, SectionKind};

/// An order of sections.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// All sections.
    pub order: Vec<SectionKind>,
    /// Those behind the bundles that the standard order has in front, with what reading them costs a token.
    pub behind: Vec<(SectionKind, f64)>,
    /// Bytes in front, and bytes of flash that there are for them.
    pub mapped: (u64, u64),
}

/// What a section costs a token if it is not mapped, in nanoseconds; nothing where it must be.
fn read_each_token(
    geometry: &Geometry,
    kind: SectionKind,
    board: &Board,
    card: &Preset,
) -> Option<f64> {
    let (records, layout) = geometry.table(kind)?;
    let (stride, layers) = (u64::from(layout.stride()), f64::from(geometry.config.layers));
    let half = u64::from(board.options.staging.0) * BLOCK_BYTES as u64 / 2;
    let whole = || {
        let bytes = u64::from(records) * stride;
        let (full, rest) = (bytes / half, bytes % half);
        Apart::of(card, full as f64, half).nanoseconds
            + if rest > 0 { Apart::of(card, 1.0, rest).nanoseconds } else { 0.0 }
    };
    let one = || Apart::of(card, 1.0, stride).nanoseconds;
    match kind {
        SectionKind::Qkv
        | SectionKind::Output
        | SectionKind::Predictor
        | SectionKind::Projection => Some(layers * whole()),
        SectionKind::Head => Some(whole()),
        SectionKind::Embedding if geometry.config.tied_head => Some(whole() + one()),
        SectionKind::Embedding | SectionKind::Positions | SectionKind::PageIndex => Some(one()),
        _ => None,
    }
}

/// The order for a board.
///
/// # Errors
/// Where no order gives an image.
pub fn front(geometry: &Geometry, tokenizer: u32, board: &Board, card: &Preset) -> Result<Front> {
    let flash = u64::from(board.flash.saturating_sub(board.firmware.code));
    let mut order = SectionKind::ALL.to_vec();
    let mut behind = Vec::new();
    loop {
        let plan = ImagePlan::in_order(geometry, tokenizer, &order)
            .map_err(|e| anyhow!("cannot be stored: {e}"))?;
        let mapped = plan.range(SectionKind::Ffn).start as u64;
        let sections =
            plan.sections().iter().take_while(|section| section.kind != SectionKind::Ffn);
        // The one whose blocks save least, each.
        let worst = sections
            .filter_map(|section| {
                let cost = read_each_token(geometry, section.kind, board, card)?;
                let parts = if section.kind.per_layer() { geometry.config.layers } else { 1 };
                let blocks = f64::from(section.part.0.max(1)) * f64::from(parts);
                Some((section.kind, cost, cost / blocks))
            })
            .min_by(|a, b| a.2.total_cmp(&b.2));
        let Some((kind, cost, _)) = worst.filter(|_| mapped > flash) else {
            return Ok(Front { order, behind, mapped: (mapped, flash) });
        };
        order.retain(|other| *other != kind);
        let ffn = order.iter().position(|other| *other == SectionKind::Ffn).unwrap_or(order.len());
        order.insert((ffn + 1).min(order.len()), kind);
        behind.push((kind, cost));
    }
}
