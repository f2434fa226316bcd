//! What `ripple perplexity --keep` says: the cost of keeping a share of the neurons, by how they are chosen.
//!
//! In: what was measured. Out: a table or JSON.

use super::summary::{bytes, table};
use crate::model::Model;
use crate::model::selection::{Choice, Kept};
use ripple_kernel::image::Geometry;
use serde::Serialize;

/// A share above 0, below 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a share above 0, below 1".to_owned()),
    }
}

/// What was measured.
#[derive(Serialize)]
pub struct Shares {
    model: String,
    windows: usize,
    context: u32,
    /// With all neurons.
    perplexity: f64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    kept: Kept,
    change_percent: f64,
    /// Of the FFN's rows that a token would need: all of those that choose, and the others of what is kept.
    bytes_per_token: f64,
}

impl Shares {
    /// Of `model`, whose rows an image of `geometry` would have.
    pub fn new(
        model: &Model,
        geometry: &Geometry,
        perplexity: f64,
        kept: Vec<Kept>,
        windows: usize,
    ) -> Self {
        // A bundle has two rows beside the gate's.
        let neurons = f64::from(geometry.config.neurons) * f64::from(geometry.config.layers);
        let row = neurons * f64::from(geometry.bundle_layout().stride()) / 2.0;
        let rows = kept.into_iter().map(|kept| {
            let whole = match kept.by {
                Choice::Gate => 1.0,
                Choice::Product => 2.0,
            };
            Row {
                kept,
                change_percent: 100.0 * (kept.perplexity / perplexity - 1.0),
                bytes_per_token: row * (whole + (3.0 - whole) * kept.found),
            }
        });
        let rows = rows.collect();
        Self { model: model.name.clone(), windows, context: model.config.context, perplexity, rows }
    }

    /// As a table.
    pub fn print(&self) -> String {
        let cells = self.rows.iter().map(|row| {
            let by = match row.kept.by {
                Choice::Gate => "gate",
                Choice::Product => "product",
            };
            vec![
                format!("{} % by {by}", 100.0 * row.kept.share),
                format!("{:.1} %", 100.0 * row.kept.found),
                format!("{:.3}", row.kept.perplexity),
                format!("{:+.2} %", row.change_percent),
                format!("{:.1} %", 100.0 * row.kept.recall),
                bytes(row.bytes_per_token),
            ]
        });
        let header = ["kept", "found", "perplexity", "against all", "recall", "FFN rows a token"];
        format!(
            "{} on {} windows of {} tokens, in float32; with all neurons {:.3}\n{}",
            self.model,
            self.windows,
            self.context,
            self.perplexity,
            table(&header, cells.collect())
        )
    }
}
