//! Records the activations of a text with the float32 reference, window by window.
//!
//! In: a model and tokens. Out: a [`Trace`] of which neurons fired. The observer is a
//! [`Probe`], the same that watches the kernel, so a trace of either has one form.

use crate::model::Model;
use crate::model::reference::Reference;
use crate::model::text::windows;
use crate::predictor::{PredictorChoice, geometry};
use crate::process::interrupt;
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
/// Where [`interrupt::requested`], only the first windows. `done` is called with the number of tokens after each window.
pub fn record(model: &Model, text: &str, tokens: &[u32], done: &(dyn Fn(u64) + Sync)) -> Trace {
    let config = &model.config;
    let header = TraceHeader {
        model: model.name.clone(),
        text: text.to_owned(),
        layers: config.layers as usize,
        neurons: config.neurons as usize,
        bundle_bytes: geometry(model, &PredictorChoice::Exact).bundle_layout().stride(),
    };
    let recorders: Vec<_> = windows(tokens, config.context)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map_init(
            || Reference::new(model),
            |reference, window| {
                let mut recorder = Recorder::default();
                if interrupt::requested() {
                    return None;
                }
                observe(reference, window, &mut recorder);
                done(window.len() as u64);
                Some(recorder)
            },
        )
        .collect();
    let mut builder = TraceBuilder::new(header);
    let mut first = 0;
    for (recorder, window) in recorders.into_iter().zip(windows(tokens, config.context)) {
        let Some(mut recorder) = recorder else { break };
        recorder.flush(&mut builder, first);
        first += window.len();
    }
    builder.name(&tokens[..first]);
    builder.finish()
}

/// Runs one window from an empty KV cache and reports the active sets to `probe`.
pub fn observe(reference: &mut Reference<'_>, window: &[u32], probe: &mut impl Probe) {
    reference.reset();
    let model = reference.model();
    let mut active = Vec::new();
    for (position, &token) in (0..).zip(window) {
        reference.forward_with(token, &mut |layer, pre_activation: &[f32], _input: &[f32]| {
            active.clear();
            active.extend(
                (0u16..)
                    .zip(pre_activation)
                    .filter(|(_, x)| model.coefficient(layer, **x).is_some())
                    .map(|(i, _)| i),
            );
            probe.active(layer as u32, position, &active);
        });
    }
}
