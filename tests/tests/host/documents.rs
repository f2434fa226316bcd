//! What the documents say of the repository is so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The features of the kernel: what `Cargo.toml` says each adds, and whether it is on by default.
fn features() -> BTreeMap<String, (String, bool)> {
    let manifest = read("kernel/Cargo.toml");
    let table = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let mut found = BTreeMap::new();
    let (mut defaults, mut words) = (Vec::new(), Vec::new());
    for line in table.lines() {
        if let Some(comment) = line.strip_prefix("##") {
            words.push(comment.trim().to_owned());
        } else if let Some((name, value)) = line.split_once(" = ") {
            if name == "default" {
                defaults = value.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            } else {
                let on = defaults.iter().any(|default| default == name);
                found.insert(name.to_owned(), (words.join(" "), on));
            }
            words.clear();
        }
    }
    found
}

#[test]
fn the_crate_documentation_lists_the_features_that_there_are() {
    let lib = read("kernel/src/lib.rs");
    let table = lib.split("//! # Features\n").nth(1).unwrap().split("//! # ").next().unwrap();
    let rows: BTreeMap<String, (String, bool)> = table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("//! | `")?.split(" | ").collect();
            let [name, default, adds] = cells[..] else { panic!("{line}") };
            let adds = adds.trim_end_matches(" |").to_owned();
            Some((name.trim_end_matches('`').to_owned(), (adds, default == "yes")))
        })
        .collect();
    let there = features();
    assert!(there.len() > 5 && there.values().any(|(_, on)| *on), "{there:?}");
    let defaults = |all: &BTreeMap<String, (String, bool)>| -> BTreeMap<String, bool> {
        all.iter().map(|(name, (_, on))| (name.clone(), *on)).collect()
    };
    assert_eq!(defaults(&rows), defaults(&there));
    for (name, (adds, _)) in &rows {
        let (comment, _) = &there[name];
        let first = comment.split(". ").next().unwrap().trim_end_matches('.');
        assert_eq!(adds.trim_end_matches('.'), first, "{name}");
    }
}

#[test]
fn the_readme_is_for_a_stranger() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "{lines} lines");
}

/// The documents that link to other files.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    let mut links = 0;
    for document in found {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") || path.contains(' ') {
                continue;
            }
            let target = document.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

/// What `document` has between the two marks, which stand on lines of their own.
fn marked<'d>(document: &'d str, mark: &str) -> &'d str {
    let (start, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    document.split(&start).nth(1).unwrap().split(&end).next().unwrap()
}

/// `RIPPLE_UPDATE=1` writes the table anew.
#[test]
fn the_readme_lists_every_key_of_every_format() {
    let (path, table) = ("host-sim/README.md", ripple_host_sim::import::keys::markdown());
    let readme = read(path);
    let found = marked(&readme, "keys");
    if std::env::var_os("RIPPLE_UPDATE").is_some() {
        let written = readme.replace(found, &table);
        fs::write(root().join(path), written).unwrap();
    } else {
        assert_eq!(found, table, "RIPPLE_UPDATE=1 cargo test the_readme_lists_every_key");
    }
}
