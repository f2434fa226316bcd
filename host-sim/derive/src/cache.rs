//! Derivations that were found before, in a folder: what is searched for once is not searched for again.
//!
//! In: a folder. Out: for an expression, a machine and a library the rules that led to the cheapest call. They
//! are applied again, and the cost must come out the same to the bit: a file that says anything else is as good
//! as none, and is written anew. A file appears whole or not at all, so any number of processes may share a
//! folder.

use crate::expr::{Kind, Scope, Tensors};
use crate::index::{Atom, Index, Range};
use crate::library::{Operator, matches};
use crate::machine::Machine;
use crate::search::moves::Move;
use crate::search::state::{Fingerprint, State};
use crate::search::walk::{Found, Judge, Settings};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt::Write as _;
use std::fs;
use std::hash::Hash;
use std::path::{Path, PathBuf};

/// Takes the text of files into a digest.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// Files of this crate that decide what a search finds and how it is kept.
        #[cfg(test)]
        const DECIDING: &[&str] = &[$($name),*];
        /// Changes whenever one of them does, be it in a comment only: then all is searched for again.
        const DIGEST: u64 = digest(&[$(include_bytes!($name)),*]);
    };
}

files!(
    "cache.rs",
    "expr.rs",
    "index.rs",
    "library/bind.rs",
    "library/mod.rs",
    "library/operator.rs",
    "machine.rs",
    "plan.rs",
    "rules/boundary.rs",
    "rules/mod.rs",
    "rules/relayout.rs",
    "rules/sums.rs",
    "rules/traversal.rs",
    "rules/variables.rs",
    "search/canonical.rs",
    "search/mod.rs",
    "search/moves.rs",
    "search/state.rs",
    "search/walk.rs",
    "terms.rs",
);

/// FNV-1a, of 64 bits, of all files.
const fn digest(files: &[&[u8]]) -> u64 {
    let (mut hash, mut file) = (0xcbf2_9ce4_8422_2325u64, 0);
    while file < files.len() {
        let mut at = 0;
        while at < files[file].len() {
            hash = (hash ^ files[file][at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        file += 1;
    }
    hash
}

/// The first line of a file.
fn version() -> String {
    format!("ripple-derive {DIGEST:016x}")
}

/// An expression that was derived before: its fingerprint, the kinds and shapes of its tensors, and the depth.
pub type Key = (Fingerprint, Vec<(Kind, Vec<i64>)>, u8);

/// A folder of derivations.
pub struct Cache<'a> {
    folder: PathBuf,
    /// Told what is wrong with a file.
    warn: &'a dyn Fn(&str),
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The cheapest.
    pub found: Found,
    /// States that were gone through.
    pub states: u64,
}

/// The file of one expression.
pub struct Entry<'a> {
    path: PathBuf,
    warn: &'a dyn Fn(&str),
}

impl<'a> Cache<'a> {
    /// The folder at `path`, which is made with the first file. `warn` is told what is wrong with a file that is
    /// not used, or that cannot be written.
    pub fn at(path: impl Into<PathBuf>, warn: &'a dyn Fn(&str)) -> Self {
        Self { folder: path.into(), warn }
    }

    /// The file of an expression, a machine, a library and a way to search.
    pub fn entry(
        &self,
        key: &Key,
        machine: &Machine,
        operators: &[Operator],
        settings: Settings,
    ) -> Entry<'a> {
        let mut hasher = SipHasher13::new();
        (DIGEST, key).hash(&mut hasher);
        // Debug forms have every figure of them.
        format!("{machine:?} {operators:?} {settings:?}").hash(&mut hasher);
        let name = format!("{:032x}.derivation", hasher.finish128().as_u128());
        Entry { path: self.folder.join(name), warn: self.warn }
    }
}

impl Entry<'_> {
    /// What the file says, derived again; `None` where there is no file, or one that says anything else.
    pub fn read(
        &self,
        scope: &Scope,
        tensors: &Tensors,
        operators: &[Operator],
        judge: &dyn Judge,
    ) -> Option<Kept> {
        let text = fs::read_to_string(&self.path).ok()?;
        let kept = derived_again(&text, scope, tensors, operators, judge);
        if kept.is_none() {
            let path = self.path.display();
            (self.warn)(&format!(
                "{path}: not the derivation that it should be; searched for again"
            ));
        }
        kept
    }

    /// Writes the file. What cannot be written is searched for again next time.
    pub fn write(&self, kept: &Kept) {
        let Some(text) = text(kept) else { return };
        // A name of this process, then its own: a reader sees a whole file or none.
        let process = std::process::id();
        let parts = self.path.with_extension(format!("{process}.part"));
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&parts, text))
            .and_then(|()| fs::rename(&parts, &self.path));
        if let Err(error) = written {
            let _ = fs::remove_file(&parts);
            (self.warn)(&format!("{}: not kept: {error}", self.path.display()));
        }
    }
}

fn derived_again(
    text: &str,
    scope: &Scope,
    tensors: &Tensors,
    operators: &[Operator],
    judge: &dyn Judge,
) -> Option<Kept> {
    let mut lines = text.lines();
    if lines.next()? != version() {
        return None;
    }
    let states = lines.next()?.strip_prefix("states ")?.parse().ok()?;
    let bits = u64::from_str_radix(lines.next()?.strip_prefix("cost ")?, 16).ok()?;
    let mut state = State::new(scope.clone()).canonical();
    let mut steps = Vec::new();
    loop {
        match lines.next()? {
            "end" => break,
            line => {
                let step = parsed(line)?;
                state = step.step(&state, tensors)?;
                steps.push(step);
            }
        }
    }
    let all = matches(&state.focus, tensors, operators);
    let costs = all.into_iter().filter_map(|bound| Some((judge.cost(&state, &bound)?, bound)));
    let (cost, bound) = costs.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let found = Found { steps, state, bound, cost };
    (cost.to_bits() == bits && lines.next().is_none()).then_some(Kept { found, states })
}

fn text(kept: &Kept) -> Option<String> {
    let bits = kept.found.cost.to_bits();
    let mut out = format!("{}\nstates {}\ncost {bits:016x}\n", version(), kept.states);
    for step in &kept.found.steps {
        let line = match step {
            Move::Split(sums) => format!("split {sums}"),
            Move::Substitute(v, index) => format!("substitute {v} {}", linear(index)?),
            Move::Divide(v, k, offset) => format!("divide {v} {k} {offset}"),
            Move::Rotate(v, k, rest, negative) => {
                format!("rotate {v} {k} {} {}", u8::from(*negative), linear(rest)?)
            }
            Move::Join(i, j) => format!("join {i} {j}"),
            Move::Tighten => "tighten".to_owned(),
            Move::Relax(v, to) => format!("relax {v} {} {}", to.lo, to.hi),
            Move::SplitDimension(which, d, by) => format!("dimension {which} {d} {by}"),
        };
        writeln!(out, "{line}").ok()?;
    }
    Some(out + "end\n")
}

/// The constant, then each iterator with its factor; `None` with a quotient or a remainder in it.
fn linear(index: &Index) -> Option<String> {
    let (constant, terms) = index.parts();
    let mut out = constant.to_string();
    for (atom, factor) in terms {
        let Atom::Var(v) = atom else { return None };
        write!(out, " {v} {factor}").ok()?;
    }
    Some(out)
}

fn parsed(line: &str) -> Option<Move> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let numbers: Vec<i64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let place = |at: usize| usize::try_from(*numbers.get(at)?).ok().filter(|v| *v < 64);
    let divisor = |at: usize| numbers.get(at).copied().filter(|k| *k >= 2);
    let index = |from: usize| {
        let (&constant, terms) = numbers.get(from..)?.split_first()?;
        let pairs = terms.as_chunks::<2>();
        if !pairs.1.is_empty() {
            return None;
        }
        pairs.0.iter().try_fold(Index::constant(constant), |sum, &[v, factor]| {
            let v = usize::try_from(v).ok().filter(|v| *v < 64)?;
            Some(sum.plus(&Index::var(v).times(factor)))
        })
    };
    let exactly = |count: usize| (numbers.len() == count).then_some(());
    Some(match name {
        "split" => {
            exactly(1)?;
            Move::Split(u64::try_from(numbers[0]).ok()?)
        }
        "substitute" => Move::Substitute(place(0)?, index(1)?),
        "divide" => {
            exactly(3)?;
            Move::Divide(place(0)?, divisor(1)?, numbers[2])
        }
        "rotate" => Move::Rotate(place(0)?, divisor(1)?, index(3)?, *numbers.get(2)? == 1),
        "join" => {
            exactly(2)?;
            Move::Join(place(0)?, place(1)?)
        }
        "tighten" => {
            exactly(0)?;
            Move::Tighten
        }
        "relax" => {
            exactly(3)?;
            Move::Relax(place(0)?, Range { lo: numbers[1], hi: numbers[2] })
        }
        "dimension" => {
            exactly(3)?;
            Move::SplitDimension(place(0)?, place(1)?, divisor(2)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reads and writes networks, and what follows a search: none of it is asked while one goes on.
    const APART: &[&str] = &[
        "check.rs",
        "derive",
        "emit",
        "explain.rs",
        "fixed.rs",
        "interpret.rs",
        "lib.rs",
        "network.rs",
        "notation",
        "onnx",
        "rules/bundle.rs",
        "rules/program.rs",
        "rules/weights.rs",
        "textbook.rs",
    ];

    #[test]
    fn every_file_decides_or_is_apart() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut files) = (vec![source.clone()], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
                if APART.contains(&name.as_str()) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                assert!(DECIDING.contains(&name.as_str()), "{name} is neither");
            }
        }
        assert_eq!(files, DECIDING.len());
    }
}
