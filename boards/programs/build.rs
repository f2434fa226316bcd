//! Writes the memory map of the machine that QEMU runs for the target.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let map = match env::var("TARGET").as_deref() {
        // mps3-an547: ITCM, DDR.
        Ok("thumbv8m.main-none-eabihf") => {
            "FLASH : ORIGIN = 0x00000000, LENGTH = 512K  RAM : ORIGIN = 0x60000000, LENGTH = 4M"
        }
        // mps2-an385 and an386: two ZBT SRAMs.
        _ => "FLASH : ORIGIN = 0x00000000, LENGTH = 4M  RAM : ORIGIN = 0x20000000, LENGTH = 4M",
    };
    fs::write(out.join("memory.x"), format!("MEMORY {{ {map} }}\n")).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=build.rs");
}
