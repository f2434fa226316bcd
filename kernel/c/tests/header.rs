//! The header says what the source says.

use std::path::Path;
use std::{env, fs};

#[test]
fn the_header_is_that_of_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    // In the order in which a reader needs them.
    let files = ["status", "memory", "device", "decoder", "text", "sampler"];
    let sources = files.iter().fold(cbindgen::Builder::new().with_config(config), |all, file| {
        all.with_src(folder.join(format!("src/{file}.rs")))
    });
    let mut made = Vec::new();
    sources.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = folder.join("include/ripple.h");
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap();
    assert!(there == made, "include/ripple.h is old: UPDATE_HEADER=1 cargo test --test header");
}
