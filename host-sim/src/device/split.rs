//! How memory is divided: what of an image is held for good, what is left for the neurons that come and go.
//!
//! In: an image's header, and the bytes that may be used. Out: [`Split`]. Knows nothing of devices.
//!
//! Memory goes first to what saves most bytes for each byte held. A table that every token needs whole saves
//! all of itself, the neurons of the cache save the share of the tokens that they fire for, and a table of which a
//! token needs one row, as the embedding is where the head is another table, saves next to nothing. What is held
//! for good is the front of an image, so there is one place to find: where it ends.

use crate::machine::needed::{Needed, needed};
use crate::process::failure::bad_usage;
use anyhow::{Result, anyhow};
use ripple_hal::{BLOCK_BYTES, BlockIdx};
use ripple_kernel::image::{Header, SectionKind};
use ripple_kernel::{MemoryPlan, Options, Region};

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Bytes at the front of the image that are held.
    pub mapped: u64,
    /// What the kernel is told; its cache has what is left.
    pub options: Options,
}

/// Where the weights of an image are, in bytes: its front up to its last neuron; pages are copies.
pub fn weights(header: &Header) -> u64 {
    let all = SectionKind::ALL.into_iter().filter(|&kind| kind != SectionKind::Pages);
    all.map(|kind| range(header, kind).1).max().unwrap_or(0)
}

/// Bytes that a token needs of an engine that knows nothing of sparsity.
pub fn dense_bytes(header: &Header) -> u64 {
    let each = SectionKind::ALL.into_iter().filter(|&kind| {
        matches!(needed(&header.geometry, kind), Needed::Whole | Needed::ForLogits)
    });
    each.map(|kind| range(header, kind)).map(|(start, end)| end - start).sum()
}

/// Divides `ram` bytes, of which `beside` are used for something else. `firing`: of how many tokens a neuron that
/// is worth holding is active, in thousandths.
///
/// # Errors
/// When `ram` does not hold what the kernel computes with.
pub fn split(
    ram: u64,
    beside: u64,
    header: &Header,
    options: &Options,
    firing: u32,
) -> Result<Split> {
    let bare = Options { cache_bytes: 0, ..*options };
    let plan = MemoryPlan::for_model(&header.geometry, &bare);
    let needed = plan.bytes() as u64 + beside;
    let Some(left) = ram.checked_sub(needed) else {
        let of = |region| plan.region_bytes(region);
        return Err(bad_usage(anyhow!(
            "--ram {ram}B: expected at least {needed}B: work {} + staging {} + kv {} + index {} + reading ahead \
             {beside}; --context, --batch, --staging and --kv q8 make that less",
            of(Region::Work),
            of(Region::Staging),
            of(Region::Kv),
            of(Region::Index)
        )));
    };
    let ends = ends(header, left);
    let saved = |&end: &u64| {
        let cached = (left - end).min(ffn_bytes(header));
        saved_by_prefix(header, end) * 1000 + u128::from(cached) * u128::from(firing)
    };
    // The shortest of those that save as much.
    let best = ends.iter().copied().rev().max_by_key(saved);
    let mapped = best.unwrap_or(0);
    // Neurons that are held need no cache.
    let cache_bytes = match mapped >= range(header, SectionKind::Ffn).1 {
        true => 0,
        false => largest_cache(header, &bare, left - mapped + plan.bytes() as u64),
    };
    Ok(Split { mapped, options: Options { cache_bytes, ..bare } })
}

fn ffn_bytes(header: &Header) -> u64 {
    let config = &header.geometry.config;
    let bundles = u64::from(config.neurons) * u64::from(config.layers);
    bundles * u64::from(header.geometry.bundle_layout().stride())
}

const fn byte(block: BlockIdx) -> u64 {
    block.0 as u64 * BLOCK_BYTES as u64
}

/// First byte of a section, and one past its last.
fn range(header: &Header, kind: SectionKind) -> (u64, u64) {
    let section = header.section(kind);
    let start = byte(section.start);
    (start, start + section.part.bytes() * u64::from(header.parts(kind)))
}

/// Whether a token needs all of it: what finds the active neurons, and what an engine needs whole that knows nothing
/// of sparsity.
fn is_whole(header: &Header, kind: SectionKind) -> bool {
    match kind {
        SectionKind::Projection | SectionKind::Predictor => true,
        kind => matches!(needed(&header.geometry, kind), Needed::Whole | Needed::ForLogits),
    }
}

/// Where the front that is held may end, ascending: before and behind each section, and where memory ends.
fn ends(header: &Header, left: u64) -> Vec<u64> {
    let all = SectionKind::ALL.into_iter().flat_map(|kind| {
        let (start, end) = range(header, kind);
        [start, end]
    });
    let whole = header.blocks.bytes();
    let mut ends: Vec<u64> = all.chain([0, left - left % BLOCK_BYTES as u64]).collect();
    // Pages are of no use where the neurons are held, and neurons are held one by one, not layer by layer, unless all
    // of them are.
    let ffn = range(header, SectionKind::Ffn);
    ends.retain(|&end| {
        end <= left.min(whole) && !(ffn.0 + 1..ffn.1).contains(&end) && end <= ffn.1
    });
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Bytes that a token needs not read where the front up to `end` is held.
fn saved_by_prefix(header: &Header, end: u64) -> u128 {
    let each = SectionKind::ALL.into_iter().filter(|&kind| is_whole(header, kind)).map(|kind| {
        let (start, last) = range(header, kind);
        u128::from(end.clamp(start, last.max(start)) - start)
    });
    each.sum()
}

/// The largest cache whose plan takes at most `bytes`.
fn largest_cache(header: &Header, bare: &Options, bytes: u64) -> u32 {
    let fits = |cache_bytes: u32| {
        let options = Options { cache_bytes, ..*bare };
        MemoryPlan::for_model(&header.geometry, &options).bytes() as u64 <= bytes
    };
    let (mut low, mut high) = (0u32, bytes.min(u64::from(u32::MAX)) as u32);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::demo;
    use crate::model::Model;
    use crate::pack::pack;
    use crate::placement::Placement;
    use crate::predictor::PredictorChoice;

    fn story() -> Header {
        let model = Model::load(&demo::path("story-nano").unwrap()).unwrap();
        let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
        let placement = Placement::identity(&model.name, layers, neurons);
        let image = pack(&model, &placement, &PredictorChoice::Exact, &[]).unwrap();
        Header::parse(&image).unwrap()
    }

    /// The split of so many KiB more than the kernel needs at least.
    fn beyond(header: &Header, kib: u64, firing: u32) -> Split {
        let options = Options::DEFAULT;
        let least = MemoryPlan::for_model(&header.geometry, &options).bytes() as u64 + 1000;
        let ram = least + 1024 * kib;
        let split = split(ram, 1000, header, &options, firing).unwrap();
        let plan = MemoryPlan::for_model(&header.geometry, &split.options).bytes() as u64;
        let used = split.mapped + plan + 1000;
        let bundle = u64::from(header.geometry.bundle_layout().stride());
        let all = split.mapped >= weights(header)
            || u64::from(split.options.cache_bytes) >= ffn_bytes(header);
        // All but what holds neither a block nor a bundle and its part of the index.
        assert!(used <= ram && (all || ram - used < 1024 + 2 * bundle), "{kib}: {used} of {ram}");
        split
    }

    #[test]
    fn what_is_needed_whole_comes_before_the_cache_and_all_of_it_needs_none() {
        let header = story();
        let front = byte(header.section(SectionKind::Ffn).start);
        assert_eq!(beyond(&header, 100, 500).mapped, 100 * 1024);
        assert_eq!(beyond(&header, 100, 500).options.cache_bytes / 1024, 0);
        let some = beyond(&header, front / 1024 + 40, 500);
        assert_eq!(some.mapped, front);
        assert!((20..=40).contains(&(some.options.cache_bytes / 1024)), "{some:?}");
        let all = beyond(&header, weights(&header) / 1024 + 1, 500);
        assert_eq!((all.mapped, weights(&header)), (header.blocks.bytes(), header.blocks.bytes()));
        assert_eq!(all.options.cache_bytes, 0);
        let error = split(1000, 0, &header, &Options::DEFAULT, 500).unwrap_err().to_string();
        assert!(error.contains("--ram 1000B: expected at least"), "{error}");
    }

    #[test]
    fn an_embedding_of_which_a_row_is_needed_is_not_held_for_its_own_sake() {
        let mut header = story();
        header.geometry.config.tied_head = false;
        let (start, end) = range(&header, SectionKind::Embedding);
        for kib in [end / 1024 - 8, end / 1024 + 8] {
            let split = beyond(&header, kib, 500);
            assert!(split.mapped <= start && split.options.cache_bytes > 0, "{kib}: {split:?}");
        }
    }
}
