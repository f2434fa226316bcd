//! Parts of a placement: some layers, placed on one of several machines, and how they are joined.
//!
//! In: an activation trace and a range of layers; or all the parts. Out: [`PartialPlacement`]; or the
//! placement, the same as if one machine had made it. Knows nothing of schedulers.

use super::{Method, Order, PlaceOptions, Placement, Settings, check_hot, order_layers};
use crate::profile::trace::Trace;
use anyhow::{Result, ensure};
use std::fmt::Debug;
use std::ops::Range;

/// The orders of successive layers, checked as those of a [`Placement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialPlacement {
    pub(super) model: String,
    pub(super) method: Method,
    pub(super) settings: Settings,
    /// Length of the hot prefix of every layer of the model, of other parts too: `(layers,)`.
    pub(super) hot: Vec<usize>,
    /// The first layer placed.
    pub(super) first: usize,
    pub(super) layers: Vec<Order>,
}

impl PartialPlacement {
    /// Orders the neurons of `layers` of `trace`; `done` is told how many neurons more are placed.
    ///
    /// # Errors
    /// When there are no such layers, or the hot prefixes do not fit the trace's layers.
    pub fn place(
        trace: &Trace,
        method: Method,
        options: &PlaceOptions,
        layers: Range<usize>,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Self> {
        let hot = match options.hot.as_slice() {
            [] => vec![0; trace.layers()],
            hot => hot.to_vec(),
        };
        check_hot(&hot, trace.layers(), trace.neurons())?;
        ensure!(
            !layers.is_empty() && layers.end <= trace.layers(),
            "layers {}..{}: expected some of 0..{}, the layers of the trace",
            layers.start,
            layers.end,
            trace.layers()
        );
        let first = layers.start;
        let layers = order_layers(trace, method, options, layers, done);
        let seed = (method == Method::Random).then_some(options.seed);
        let settings = Settings { text: trace.text().to_owned(), tokens: trace.tokens(), seed };
        Ok(Self { model: trace.model().to_owned(), method, settings, hot, first, layers })
    }

    /// The layers placed.
    pub fn layers(&self) -> Range<usize> {
        self.first..self.first + self.layers.len()
    }

    /// Neurons of one layer.
    pub fn neurons(&self) -> usize {
        self.layers.first().map_or(0, Order::len)
    }

    /// Joins named parts, in any order, to the placement they are parts of.
    ///
    /// # Errors
    /// When they are not parts of one placement, or layers are in two of them or in none: names the
    /// part, what was expected and what was found.
    pub fn merge(mut parts: Vec<(String, Self)>) -> Result<Placement> {
        parts.sort_by_key(|(_, part)| part.first);
        let mut parts = parts.into_iter();
        let Some((first_name, mut all)) = parts.next() else {
            anyhow::bail!("expected at least one part, found none");
        };
        let mut before = first_name.clone();
        all.check_next(0)?;
        for (name, part) in parts {
            let facts = [
                ("model", debug(&all.model), debug(&part.model)),
                ("text", debug(&all.settings.text), debug(&part.settings.text)),
                ("tokens", debug(&all.settings.tokens), debug(&part.settings.tokens)),
                ("method", all.method.to_string(), part.method.to_string()),
                ("seed", debug(&all.settings.seed), debug(&part.settings.seed)),
                ("neurons", debug(&all.neurons()), debug(&part.neurons())),
                ("layers", debug(&all.hot.len()), debug(&part.hot.len())),
                ("hot prefixes", debug(&all.hot), debug(&part.hot)),
            ];
            for (fact, expected, found) in facts {
                ensure!(
                    expected == found,
                    "{name}: expected {fact} {expected} as in {first_name}, found {found}; place \
                     all parts from the same trace with the same options"
                );
            }
            let (placed, new) = (all.layers(), part.layers());
            ensure!(
                new.start >= placed.end,
                "{name}: expected layers from {} on after {before}, found {}..{}; leave one of the \
                 two out or place again with other --layers",
                placed.end,
                new.start,
                new.end
            );
            all.check_next(new.start)?;
            all.layers.extend(part.layers);
            before = name;
        }
        all.check_next(all.hot.len())?;
        Ok(Placement { all, pages: None })
    }

    /// Refuses a hole between the layers so far and `next`.
    fn check_next(&self, next: usize) -> Result<()> {
        let placed = self.layers();
        let (start, end) = match next {
            0 => (0, placed.start),
            _ => (placed.end, next),
        };
        ensure!(
            start >= end,
            "layers {start}..{end} of {} are in none of the parts; place them too, with --layers \
             {start}..{end}",
            self.hot.len()
        );
        Ok(())
    }
}

/// A fact in words that can be compared.
fn debug(fact: &impl Debug) -> String {
    format!("{fact:?}")
}
