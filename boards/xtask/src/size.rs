//! What is in an ELF file: symbols, sections, and bytes of a firmware.

use crate::shell::{llvm, said};
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// A symbol that takes bytes.
pub struct Symbol {
    pub bytes: u64,
    /// As `nm` says it, `T` or `t` code, `R` or `r` constants.
    pub kind: char,
    pub name: String,
}

/// All symbols of an ELF file.
pub fn symbols(elf: &Path) -> Result<Vec<Symbol>> {
    let text = said(llvm("llvm-nm")?.args(["-C", "--print-size", "--radix=d"]).arg(elf))?;
    let symbol = |line: &str| {
        let mut words = line.trim_start().splitn(4, ' ').skip(1);
        let (bytes, kind) = (words.next()?.parse().ok()?, words.next()?.chars().next()?);
        Some(Symbol { bytes, kind, name: words.next()?.to_owned() })
    };
    Ok(text.lines().filter_map(symbol).collect())
}

/// All sections of an ELF file, by name and bytes.
pub fn sections(elf: &Path) -> Result<Vec<(String, u64)>> {
    let text = said(llvm("llvm-size")?.args(["-A", "-d"]).arg(elf))?;
    let section = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    Ok(text.lines().filter_map(section).collect())
}

/// Bytes of a firmware.
pub struct Size {
    /// Code and constants, the front of the image included.
    pub flash: u64,
    /// Static RAM.
    pub statics: u64,
    /// The front of the image.
    pub mapped: u64,
    /// Functions with the kernel's name; what was inlined elsewhere counts elsewhere.
    pub kernel: u64,
}

/// Beginnings of the names of sections: in flash, in both, in RAM.
const FLASH: [&str; 8] = [
    ".vector_table",
    ".text",
    ".rodata",
    ".ARM.ex",
    ".boot",
    ".start_block",
    ".bi_entries",
    ".mapped",
];
const BOTH: [&str; 1] = [".data"];
const RAM: [&str; 3] = [".bss", ".uninit", ".dtcm"];

impl Size {
    /// Of a firmware.
    pub fn of(elf: &Path) -> Result<Self> {
        let (sections, symbols) = (sections(elf)?, symbols(elf)?);
        let in_sections = |names: &[&str]| -> u64 {
            let named = |(name, _): &&(String, u64)| names.iter().any(|n| name.starts_with(n));
            sections.iter().filter(named).map(|(_, bytes)| bytes).sum()
        };
        let in_symbols = |kinds: &str, name: &str| -> u64 {
            let named = |s: &&Symbol| kinds.contains(s.kind) && s.name.contains(name);
            symbols.iter().filter(named).map(|symbol| symbol.bytes).sum()
        };
        Ok(Self {
            flash: in_sections(&FLASH) + in_sections(&BOTH),
            statics: in_sections(&BOTH) + in_sections(&RAM),
            mapped: in_symbols("tTrR", "FRONT"),
            kernel: in_symbols("tT", "ripple_kernel"),
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flash, statics, mapped, kernel } = self;
        writeln!(f, "flash {flash}\nstatics {statics}\nmapped {mapped}\nkernel {kernel}")
    }
}
