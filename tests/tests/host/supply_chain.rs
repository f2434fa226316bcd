//! What the workspace is built of: where it is from, under which licences, and what is there twice.
//!
//! In: `Cargo.lock`, and what cargo says of the packages that this machine has built. What is allowed is said
//! here, so that whoever adds a dependency reads it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Licences that ask for no more than to be named.
const LICENCES: [&str; 9] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Packages of which there are two versions, because of others' requirements.
const TWICE: [&str; 3] = ["bitflags", "hashbrown", "syn"];

fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    let host =
        if cfg!(target_os = "linux") { "x86_64-unknown-linux-gnu" } else { return Vec::new() };
    let said = metadata
        .args(["--filter-platform", host])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let all: Value = serde_json::from_slice(&said.stdout).unwrap();
    all["packages"].as_array().unwrap().clone()
}

/// Whether an expression of SPDX can be met: `A OR B`, `A AND B`, `A/B`, an exception, one level of brackets.
fn met(expression: &str) -> bool {
    let any = |part: &str| {
        let ways = part.split(" OR ").flat_map(|way| way.split('/'));
        ways.into_iter().any(|way| {
            let bare = way.trim().trim_matches(['(', ')']);
            LICENCES.contains(&bare.split(" WITH ").next().unwrap_or(bare))
        })
    };
    expression.split(" AND ").all(any)
}

#[test]
fn every_licence_is_one_that_only_asks_to_be_named() {
    for (wrong, expression) in
        [(true, "GPL-3.0"), (true, "MIT AND GPL-3.0"), (false, "Unlicense/MIT")]
    {
        assert_eq!(met(expression), !wrong, "{expression}");
    }
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(met(licence), "{} {}: {licence}", package["name"], package["version"]);
    }
}

#[test]
fn every_package_is_of_this_workspace_or_of_one_registry() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"));
    let (mut sources, mut count) = (BTreeSet::new(), 0);
    for package in lock.unwrap().split("[[package]]").skip(1) {
        count += 1;
        let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name));
        match field("source = ") {
            // Of the registry's own bytes, which cargo compares.
            Some(source) => {
                assert!(field("checksum = ").is_some(), "{package}");
                sources.insert(source.to_owned());
            }
            None => assert!(field("name = ").unwrap().starts_with("\"ripple-"), "{package}"),
        }
    }
    assert!(count > 100 && sources.len() == 1, "{sources:?}");
    assert!(sources.iter().all(|source| source.starts_with("\"registry+")), "{sources:?}");
}

#[test]
fn no_package_is_there_twice_but_where_others_ask_for_it() {
    let mut versions = BTreeMap::<String, usize>::new();
    let packages = packages();
    for package in &packages {
        *versions.entry(package["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let twice: Vec<_> =
        versions.iter().filter(|(_, n)| **n > 1).map(|(name, _)| name.as_str()).collect();
    assert!(packages.is_empty() || twice == TWICE, "{twice:?}");
}
