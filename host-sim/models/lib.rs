//! The demo models of Ripple, as the files of their directories; `README.md` describes them.
#![no_std]

/// A demo model.
pub struct DemoModel {
    /// What it is called, and its directory.
    pub name: &'static str,
    /// Names and contents of its files.
    pub files: &'static [(&'static str, &'static [u8]); 6],
}

macro_rules! model {
    ($name:literal) => {
        DemoModel { name: $name, files: &model!($name: "config.json", "golden.json", "held-out.txt",
            "model.safetensors", "profile.txt", "tokenizer.json") }
    };
    ($name:literal: $($file:literal),*) => {
        [$(($file, include_bytes!(concat!($name, "/", $file)))),*]
    };
}

/// The models, smallest first.
pub static ALL: [DemoModel; 5] = [
    model!("novel-nano"),
    model!("story-nano"),
    model!("novel-opt"),
    model!("novel-wide"),
    DemoModel { name: "novel-small", files: &ripple_novel_small::FILES },
];
