//! Records the activations of a text with the float32 reference, window by window.
//!
//! In: a model and tokens. Out: a [`Trace`] of which neurons fired; and [`Recorder`], a [`Probe`] that notes
//! the same of the kernel, so a trace of either has one form.

use crate::model::Model;
use crate::model::forward::{Ffn, Forward, Watch};
use crate::model::text::windows;
use crate::predictor::{PredictorChoice, geometry};
use crate::profile::trace::{Trace, TraceBuilder, TraceHeader};
use rayon::prelude::*;
use ripple_kernel::Probe;

/// A probe that keeps the active sets it is told: layer, position, slots.
#[derive(Default)]
pub struct Recorder {
    sets: Vec<(u32, u32, Vec<u16>)>,
}

impl Probe for Recorder {
    fn active(&mut self, layer: u32, position: u32, slots: &[u16]) {
        self.sets.push((layer, position, slots.to_vec()));
    }
}

impl Recorder {
    /// Adds what was kept to a trace, position 0 as `first_token`. The order of the reports, and of
    /// the positions in a pass, does not matter.
    pub fn flush(&mut self, builder: &mut TraceBuilder, first_token: usize) {
        for (layer, position, set) in self.sets.drain(..) {
            builder.push(first_token + position as usize, layer as usize, &set);
        }
    }
}

/// The active sets of `tokens` under the reference, in windows of the model's full context.
///
/// Where [`interrupt::requested`](crate::process::interrupt::requested), only the first windows. `done` is called
/// with numbers of tokens, several times a second.
pub fn record(model: &Model, text: &str, tokens: &[u32], done: &(dyn Fn(u64) + Sync)) -> Trace {
    let config = &model.config;
    let header = TraceHeader {
        model: model.name.clone(),
        text: text.to_owned(),
        layers: config.layers as usize,
        neurons: config.neurons as usize,
        bundle_bytes: geometry(model, &PredictorChoice::Exact).bundle_layout().stride(),
    };
    let windows: Vec<_> = windows(tokens, config.context).collect();
    let mut recording = Recording { model, builder: TraceBuilder::new(header) };
    let read = Forward::new(model).read(&windows, &mut recording, done);
    let mut builder = recording.builder;
    builder.truncate(read);
    builder.name(&tokens[..read]);
    builder.finish()
}

/// Notes which neurons are active.
struct Recording<'m> {
    model: &'m Model,
    builder: TraceBuilder,
}

impl Watch for Recording<'_> {
    fn ffn(&mut self, ffn: Ffn<'_>) {
        let is_active = |(_, pre): &(u16, &f32)| self.model.coefficient(ffn.layer, **pre).is_some();
        let sets: Vec<Vec<u16>> = ffn
            .pre
            .par_chunks(self.model.config.neurons as usize)
            .map(|pre| (0..).zip(pre).filter(is_active).map(|(neuron, _)| neuron).collect())
            .collect();
        for (token, active) in (ffn.first..).zip(&sets) {
            self.builder.push(token, ffn.layer, active);
        }
    }
}
