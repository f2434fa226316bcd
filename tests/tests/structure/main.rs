//! The modules of each crate depend on each other in one direction.
//!
//! A module may use those inside it and those around it; among modules side by side there are no circles, and
//! rooms (modules of the crate's root) use only those before them. What only tests use does not count.

mod modules;

use modules::{Crate, Names};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate's rooms, from what knows nothing to what knows it all.
const ORDERS: [(&str, &[&str]); 7] = [
    ("hal", &["block", "clock", "device", "driver", "volume", "cost", "adapter"]),
    ("hal/signed", &["shape", "error", "statement", "sign", "device"]),
    (
        "kernel",
        &[
            "config", "slices", "math", "image", "adapter", "memory", "read", "layer", "text",
            "decode",
        ],
    ),
    (
        "kernel/program",
        &[
            "code", "error", "words", "number", "operator", "nest", "sizes", "check", "program",
            "stream", "run",
        ],
    ),
    (
        "kernel/tune",
        &[
            "real",
            "vector",
            "arms",
            "options",
            "error",
            "slots",
            "check",
            "optimise",
            "activation",
            "norm",
            "shape",
            "region",
            "plan",
            "tape",
            "adapter",
            "random",
            "attention",
            "select",
            "columns",
            "model",
            "neurons",
            "space",
            "spill",
            "embed",
            "ffn",
            "loss",
            "attend",
            "guide",
            "layer",
            "tuner",
            "steps",
        ],
    ),
    (
        "host-sim/derive",
        &[
            "index",
            "expr",
            "check",
            "interpret",
            "network",
            "rules",
            "terms",
            "library",
            "search",
            "machine",
            "plan",
            "textbook",
            "fixed",
            "cache",
            "derive",
            "emit",
            "notation",
            "explain",
            "onnx",
        ],
    ),
    (
        "host-sim",
        &[
            "process",
            "model",
            "import",
            "cost",
            "predictor",
            "profile",
            "machine",
            "device",
            "placement",
            "pack",
            "layout",
            "run",
            "tune",
            "plot",
            "bench",
            "study",
            "html",
            "medium",
            "cli",
        ],
    ),
];

#[test]
fn modules_side_by_side_have_no_circles() {
    for (name, _) in ORDERS {
        let circles = Crate::named(name).circles();
        assert!(circles.is_empty(), "{name}:\n{}", circles.join("\n"));
    }
}

#[test]
fn rooms_use_only_those_before_them() {
    for (name, order) in ORDERS {
        let found = Crate::named(name);
        let rooms: BTreeSet<&str> =
            found.modules.keys().filter_map(|names| names.first()).map(String::as_str).collect();
        assert_eq!(rooms, order.iter().copied().collect(), "rooms of {name}");
        let place = |room: &String| order.iter().position(|r| r == room);
        let uses = &found.uses()[&Names::new()];
        assert!(uses.len() >= order.len(), "{name}: {uses:?}");
        for ((from, to), by) in uses {
            assert!(place(to) < place(from), "{name}: {by} uses {to}, which comes after {from}");
        }
    }
}

/// A crate of these modules, `lib` the root; the uses that are in a circle.
fn circles_of(sources: &[(&str, &str)]) -> Vec<String> {
    let read = |names: &[String]| {
        let name = if names.is_empty() { "lib".to_owned() } else { names.join("::") };
        let found = sources.iter().find(|(module, _)| *module == name);
        found.unwrap_or_else(|| panic!("{name}")).1.to_owned()
    };
    Crate::of(&read).circles()
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    for back in [
        "use crate::a::X;",
        "pub use crate::{a::{self, X as Z}};",
        "use super::a;",
        "use super::X;",
        "use crate::X;",
        "fn f() { let x = super::a::f(); }",
        "fn f() { vec![crate::a::f()]; }",
        "macro_rules! m { () => { $crate::a::f() }; }",
        "mod inner { use super::super::a::X; }",
    ] {
        let lib = ("lib", "mod a; mod b; pub use a::X;");
        let a = ("a", "use crate::b::Y; pub struct X;");
        let used = format!("{back} pub struct Y;");
        assert_eq!(circles_of(&[lib, a, ("b", &used)]).len(), 2, "{back}");
        let tested = format!("#[cfg(test)] mod tests {{ {back} }}");
        assert_eq!(circles_of(&[lib, a, ("b", &tested)]).len(), 0, "{tested}");
    }
}

#[test]
fn parent_and_child_may_use_each_other() {
    let sources = [
        ("lib", "mod a;"),
        ("a", "mod b; use b::Y; pub struct X;"),
        ("a::b", "use super::X; use crate::a::X as Z; pub struct Y;"),
    ];
    assert_eq!(circles_of(&sources).len(), 0);
}

/// The sources below `folder`, without what only tests use.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\nmod tests {").next().unwrap_or_default();
            all.push((path, code.to_owned()));
        }
    }
    all
}

#[test]
fn outputs_are_written_in_one_place() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-sim/src");
    let writes = |code: &str| {
        ["fs::write(", "File::create", ".create(true)", "fs::copy(", "fs::rename(", ".persist("]
            .iter()
            .any(|call| code.contains(call))
    };
    let all = sources(&host).into_iter().filter(|(_, code)| writes(code));
    let found: Vec<_> = all.map(|(path, _)| path.strip_prefix(&host).unwrap().to_owned()).collect();
    assert_eq!(found, [Path::new("process/output.rs")]);
}
