//! Writes the memory map of the machine that QEMU runs, an image of random blocks, signed, and its key.

use ripple_hal::BlockCount;
use ripple_signed::{Shape, public_key, sign};
use std::path::PathBuf;
use std::{env, fs};

/// A key for nothing but this.
const SECRET: [u8; 32] = [7; 32];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // mps2-an385 and an386: two ZBT SRAMs.
    let map = "FLASH : ORIGIN = 0x00000000, LENGTH = 4M  RAM : ORIGIN = 0x20000000, LENGTH = 4M";
    fs::write(out.join("memory.x"), format!("MEMORY {{ {map} }}\n")).expect("OUT_DIR is writable");

    let shape = Shape { image: BlockCount(1024), group: BlockCount(4) };
    let mut state = 1u32;
    let mut image: Vec<u8> = (0..shape.image.bytes())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let mut tail = vec![0; shape.tail().bytes() as usize];
    sign(&image, shape, 3, &SECRET, &mut tail);
    image.extend(tail);
    fs::write(out.join("signed.image"), image).expect("OUT_DIR is writable");
    fs::write(out.join("key.pub"), public_key(&SECRET)).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=build.rs");
}
