//! The policies: what each does offline and online. All run through the kernel's one read path.
//!
//! In: a name. Out: a [`Policy`], choices only. Knows nothing of how they are carried out.

use crate::placement::Method;
use ripple_kernel::memory::cache::{Admission, Eviction};

/// When a policy merges reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Never, but for bundles that share a block.
    Never,
    /// Across gaps up to `t0 * BW`.
    Exact,
    /// The same, until the card is seen to run at its bandwidth; then never, for a while. The
    /// paper's detector.
    Detector,
}

/// One policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What it is called.
    pub name: &'static str,
    /// Reads every bundle, active or not.
    pub dense: bool,
    /// Order of the bundles.
    pub method: Method,
    /// Thousandths of the cache that are a hot prefix.
    pub hot_permille: u32,
    /// Who enters the rest of it.
    pub admission: Admission,
    /// Who leaves it.
    pub eviction: Eviction,
    /// When reads are merged.
    pub merge: Merge,
    /// Whether tokens have pages.
    pub pages: bool,
    /// Whether reads go on with the command of the read before them, across the same gaps.
    pub open: bool,
    /// Whether the fronts of several layers' pages are read at once, into a page buffer that takes its blocks out of
    /// staging.
    pub together: bool,
}

impl Policy {
    /// The best this project can do: placed by the recipe of `ripple place` and of every image that a command
    /// makes, [`place_for_card`](crate::placement::place_for_card), for a device that stays open.
    pub const OURS: Self = Self {
        name: "ours",
        dense: false,
        method: Method::Card,
        hot_permille: 1000,
        admission: Admission::DEFAULT,
        eviction: Eviction::S3Fifo,
        merge: Merge::Exact,
        pages: true,
        open: true,
        together: false,
    };

    /// The same without pages, which takes no more of the card than the model.
    pub const OURS_WITHOUT_PAGES: Self =
        Self { name: "ours-without-pages", pages: false, ..Self::OURS };

    /// What ours is compared with. The strongest of them is the one that counts.
    pub const RIVALS: [Self; 5] = [
        // Streams every weight, as engines do that map a file larger than memory; but one that pins
        // as much as the cache holds, which a page cache under a cyclic scan does not manage, and that
        // reads a whole token with one command.
        Self { name: "dense", dense: true, method: Method::Identity, pages: false, ..Self::OURS },
        Self::FLASH,
        Self { name: "llm-in-a-flash-merged", merge: Merge::Exact, ..Self::FLASH },
        // The paper's Neuralink-S, with what it lacks: merging, and the hot prefix, which is the best cache
        // of those here.
        Self {
            name: "frequency",
            method: Method::Frequency,
            pages: false,
            open: false,
            ..Self::OURS
        },
        // Wang et al., 2024. It gives no threshold for its collapse: it gets the exact one.
        Self {
            name: "ripple",
            method: Method::Coactivation,
            hot_permille: 0,
            merge: Merge::Detector,
            pages: false,
            open: false,
            ..Self::OURS
        },
    ];

    /// Alizadeh et al., 2023: bundled rows and columns, the most recent ones kept.
    const FLASH: Self = Self {
        name: "llm-in-a-flash",
        method: Method::Identity,
        hot_permille: 0,
        admission: Admission::ALL,
        eviction: Eviction::Lru,
        merge: Merge::Never,
        pages: false,
        open: false,
        ..Self::OURS
    };

    /// The policies that are compared: the rivals, and ours.
    pub const ALL: [Self; 7] = {
        let [dense, flash, merged, frequency, ripple] = Self::RIVALS;
        [dense, flash, merged, frequency, ripple, Self::OURS_WITHOUT_PAGES, Self::OURS]
    };

    /// What each part of `ours` is worth: the same without it, or with another in its place.
    pub const ABLATIONS: [Self; 11] = {
        let bare = Self::OURS_WITHOUT_PAGES;
        [
            Self { name: "ours, frequency order", method: Method::Frequency, ..Self::OURS },
            Self { name: "ours, greedy order", method: Method::Coactivation, ..Self::OURS },
            Self { name: "ours, fronts together", together: true, ..Self::OURS },
            Self { name: "ours, a command a read", open: false, ..Self::OURS },
            Self { name: "no pages, a command a read", open: false, ..bare },
            Self { name: "no pages, frequency order", method: Method::Frequency, ..bare },
            Self { name: "no pages, greedy order", method: Method::Coactivation, ..bare },
            Self { name: "no pages, no merging", merge: Merge::Never, open: false, ..bare },
            Self { name: "half the cache dynamic", hot_permille: 500, ..Self::OURS },
            Self { name: "all the cache dynamic", hot_permille: 0, ..Self::OURS },
            Self { name: "no pages, cache dynamic", hot_permille: 0, ..bare },
        ]
    };

    /// The policy or ablation of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::ABLATIONS).find(|policy| policy.name == name)
    }
}
