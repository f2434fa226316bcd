//! The paper's greedy search for a path through the neurons of great co-activation.
//!
//! In: co-activation counts, and the neurons to order. Out: their order. Knows nothing of traces.

use crate::profile::coactivation::CoActivation;

/// Orders `neurons` (ascending) so that those active together lie side by side.
///
/// Pairs are taken by descending count, equals by ascending `(i, j)`, `i < j`. A pair is linked
/// when neither neuron has two neighbours yet and they are in different links. What remains are
/// links that never fire together, in pairs of ends; the paper joins them as its queue happens to
/// give them, here they lie by descending mean frequency (then by their least end), each with its
/// more frequent end first (then the lesser), so that neurons that never fire come last.
///
/// `O(n^2 + tokens)`: counts are at most `tokens`, so pairs are sorted by counting. Memory: 4 bytes
/// for each pair that ever fired together.
///
/// "Neuralink: Fast LLM Inference on Smartphones with Neuron Co-Activation Linking", 2024,
/// Algorithm 1.
///
/// # Panics
/// When a neuron is out of range.
pub fn greedy(counts: &CoActivation, neurons: &[u16]) -> Vec<u16> {
    let mut links = Links::new(counts.neurons());
    for (i, j) in pairs_descending(counts, neurons) {
        links.join(i, j);
    }
    lay_out(&links, counts.frequency(), neurons)
}

/// The links one after the other: by descending mean frequency, then by their least end; each with
/// its more frequent end first, then the lesser.
pub(super) fn lay_out(links: &Links, frequency: &[u32], neurons: &[u16]) -> Vec<u16> {
    let mut walked = vec![false; frequency.len()];
    let frequency = |neuron: u16| frequency[usize::from(neuron)];
    let mut fragments = Vec::new();

    for &end in neurons {
        if walked[usize::from(end)] || links.neighbours(end).count() == 2 {
            continue;
        }
        let mut fragment = links.walk(end);
        for &neuron in &fragment {
            walked[usize::from(neuron)] = true;
        }
        let other = fragment[fragment.len() - 1];
        if frequency(other) > frequency(end) {
            fragment.reverse();
        }
        let total: u64 = fragment.iter().map(|&neuron| u64::from(frequency(neuron))).sum();
        fragments.push((total, fragment));
    }
    // Means compared without division, by a stable sort: the ends were met in ascending order.
    fragments.sort_by(|(total_a, a), (total_b, b)| {
        (total_b * a.len() as u64).cmp(&(total_a * b.len() as u64))
    });
    fragments.into_iter().flat_map(|(_, fragment)| fragment).collect()
}

/// The pairs among `neurons` that fired together, by descending count, then ascending.
fn pairs_descending(counts: &CoActivation, neurons: &[u16]) -> Vec<(u16, u16)> {
    let mut wanted = vec![false; counts.neurons()];
    for &neuron in neurons {
        wanted[usize::from(neuron)] = true;
    }
    let joined = || {
        let wanted = &wanted;
        counts.joined().filter(|&(i, j, _)| wanted[usize::from(i)] && wanted[usize::from(j)])
    };
    let mut next = vec![0; joined().map(|(_, _, count)| count as usize + 1).max().unwrap_or(0)];
    for (_, _, count) in joined() {
        next[count as usize] += 1;
    }
    let mut before = 0;
    for place in next.iter_mut().rev() {
        before += std::mem::replace(place, before);
    }
    let mut pairs = vec![(0, 0); before];
    for (i, j, count) in joined() {
        let place = &mut next[count as usize];
        pairs[*place] = (i, j);
        *place += 1;
    }
    pairs
}

/// Disjoint chains of neurons: each has at most two neighbours, and there are no rings.
pub(super) struct Links {
    neighbours: Vec<[Option<u16>; 2]>,
    /// Disjoint sets: towards the representative of each neuron's chain.
    parent: Vec<u16>,
}

impl Links {
    /// Every neuron a chain of its own.
    pub(super) fn new(neurons: usize) -> Self {
        let parent = (0..neurons).map(|neuron| neuron as u16).collect();
        Self { neighbours: vec![[None; 2]; neurons], parent }
    }

    /// Links `i` and `j` where both are ends, of different chains.
    pub(super) fn join(&mut self, i: u16, j: u16) {
        let free = |chain: &Self, neuron: u16| {
            chain.neighbours[usize::from(neuron)].iter().position(Option::is_none)
        };
        let (Some(free_i), Some(free_j)) = (free(self, i), free(self, j)) else { return };
        let (root_i, root_j) = (self.find(i), self.find(j));
        if root_i != root_j {
            self.neighbours[usize::from(i)][free_i] = Some(j);
            self.neighbours[usize::from(j)][free_j] = Some(i);
            self.parent[usize::from(root_j)] = root_i;
        }
    }

    /// The representative of the chain of `neuron`; halves the path to it.
    pub(super) fn find(&mut self, neuron: u16) -> u16 {
        let mut at = usize::from(neuron);
        while usize::from(self.parent[at]) != at {
            self.parent[at] = self.parent[usize::from(self.parent[at])];
            at = usize::from(self.parent[at]);
        }
        at as u16
    }

    pub(super) fn neighbours(&self, neuron: u16) -> impl Iterator<Item = u16> + '_ {
        self.neighbours[usize::from(neuron)].iter().flatten().copied()
    }

    /// The chain that ends in `end`, from there to its other end.
    fn walk(&self, end: u16) -> Vec<u16> {
        let mut chain = vec![end];
        let mut before = None;
        let mut at = end;
        while let Some(next) = self.neighbours(at).find(|&next| Some(next) != before) {
            chain.push(next);
            before = Some(at);
            at = next;
        }
        chain
    }
}
