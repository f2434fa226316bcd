//! The kernel's modules depend on each other in one direction: each uses only those before it.

use std::fs;
use std::path::Path;

/// From what knows nothing to what knows it all.
const ORDER: [&str; 9] =
    ["config", "math", "image", "memory", "read", "layer", "text", "decode", "lib"];

fn sources(path: &Path, out: &mut String) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), out);
        }
    } else {
        let text = fs::read_to_string(path).unwrap();
        // What tests use does not count, nor does what comments mention.
        let code = text.split("#[cfg(test)]").next().unwrap();
        out.extend(
            code.lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .flat_map(|l| [l, "\n"]),
        );
    }
}

#[test]
fn modules_use_only_those_before_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel/src");
    let mut uses = 0;
    for (place, module) in ORDER.iter().enumerate() {
        let mut code = String::new();
        for path in [root.join(format!("{module}.rs")), root.join(module)] {
            if path.exists() {
                sources(&path, &mut code);
            }
        }
        assert!(!code.is_empty(), "{module}: no such module");
        for used in code.split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(at) = ORDER.iter().position(|m| *m == used) else { continue };
            assert!(at <= place, "{module} uses {used}, which comes after it");
            uses += 1;
        }
    }
    let lib = fs::read_to_string(root.join("lib.rs")).unwrap();
    for line in lib.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
    {
        assert!(ORDER.contains(&line.trim_end_matches(';')), "{line} is not in the order");
    }
    assert!(uses > 40, "{uses}");
}
