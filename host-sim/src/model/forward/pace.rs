//! How far a group of tokens is, in tokens, while all of them go through the layers together.
//!
//! In: multiply-accumulates that are done. Out: tokens, told as they come. Knows nothing of layers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Work on some tokens.
pub(super) struct Pace<'a> {
    done: &'a (dyn Fn(u64) + Sync),
    tokens: u64,
    all: u64,
    worked: AtomicU64,
    told: AtomicU64,
}

impl<'a> Pace<'a> {
    /// Of `tokens`, which take `all` multiply-accumulates; `done` is called with tokens.
    pub fn new(done: &'a (dyn Fn(u64) + Sync), tokens: usize, all: u64) -> Self {
        let (worked, told) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { done, tokens: tokens as u64, all: all.max(1), worked, told }
    }

    /// `work` more are done.
    pub fn work(&self, work: u64) {
        let worked = self.worked.fetch_add(work, Ordering::Relaxed) + work;
        let share =
            u128::from(self.tokens) * u128::from(worked.min(self.all)) / u128::from(self.all);
        self.tell(share as u64);
    }

    /// All are.
    pub fn finish(&self) {
        self.tell(self.tokens);
    }

    fn tell(&self, tokens: u64) {
        let before = self.told.fetch_max(tokens, Ordering::Relaxed);
        if tokens > before {
            (self.done)(tokens - before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_told_once() {
        let told = AtomicU64::new(0);
        let done = |n| {
            told.fetch_add(n, Ordering::Relaxed);
        };
        let pace = Pace::new(&done, 10, 1000);
        pace.work(99);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        pace.work(301);
        assert_eq!(told.load(Ordering::Relaxed), 4);
        pace.work(5000);
        pace.finish();
        assert_eq!(told.load(Ordering::Relaxed), 10);
    }
}
