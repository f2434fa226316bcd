//! A trace that is recorded in memory.
//!
//! In: active sets, token by token. Out: [`Trace`]. Knows nothing of files.

use super::{Bits, MOST_NEURONS, Trace, TraceHeader};

/// Records a trace in memory, active set by active set.
#[derive(Debug)]
pub struct TraceBuilder {
    header: TraceHeader,
    tokens: usize,
    ids: Vec<u32>,
    bits: Vec<u8>,
}

impl TraceBuilder {
    /// A trace without tokens.
    ///
    /// # Panics
    /// When there are no layers, no neurons, empty bundles, or more than 65,535 neurons.
    pub fn new(header: TraceHeader) -> Self {
        assert!(header.layers > 0 && header.bundle_bytes > 0, "{header:?}");
        assert!((1..=MOST_NEURONS).contains(&header.neurons), "{header:?}");
        Self { header, tokens: 0, ids: Vec::new(), bits: Vec::new() }
    }

    /// Adds neurons to the active set of `token` in `layer`; the trace grows to hold `token`.
    ///
    /// # Panics
    /// When `layer` or a neuron is out of range.
    pub fn push(&mut self, token: usize, layer: usize, active: &[u16]) {
        assert!(layer < self.header.layers, "layer {layer} of {}", self.header.layers);
        let row = self.header.row_bytes();
        if token >= self.tokens {
            self.tokens = token + 1;
            self.bits.resize(self.tokens * self.header.layers * row, 0);
        }
        let start = (token * self.header.layers + layer) * row;
        for &neuron in active {
            let neuron = usize::from(neuron);
            assert!(neuron < self.header.neurons, "neuron {neuron} of {}", self.header.neurons);
            self.bits[start + neuron / 8] |= 1 << (neuron % 8);
        }
    }

    /// Forgets all but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        self.bits.truncate(self.tokens * self.header.layers * self.header.row_bytes());
    }

    /// Says which tokens they were.
    ///
    /// # Panics
    /// When there are more or fewer than were pushed.
    pub fn name(&mut self, ids: &[u32]) {
        assert_eq!(ids.len(), self.tokens, "numbers of tokens");
        self.ids = ids.to_vec();
    }

    /// The trace of the tokens pushed.
    pub fn finish(self) -> Trace {
        let Self { header, tokens, ids, bits } = self;
        Trace { header, tokens, ids, part: None, bits: Bits::Recorded(bits) }
    }
}
