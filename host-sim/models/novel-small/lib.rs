//! The demo model `novel-small`, as the files of its directory.
#![no_std]

/// Names and contents.
pub static FILES: [(&str, &[u8]); 6] = [
    ("config.json", include_bytes!("config.json")),
    ("golden.json", include_bytes!("golden.json")),
    ("held-out.txt", include_bytes!("held-out.txt")),
    ("model.safetensors", include_bytes!("model.safetensors")),
    ("profile.txt", include_bytes!("profile.txt")),
    ("tokenizer.json", include_bytes!("tokenizer.json")),
];
