//! Links firmware that calls all of ripple-kernel and ripple-hal, and the C library, for every kind
//! of core, and looks at it: nothing in it can panic, and how large it is.

use crate::shell::{artifact, cargo, llvm, root, run, said};
use crate::size::{sections, symbols};
use anyhow::{Context, Result, bail, ensure};
use ripple_machines::MACHINES;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Opt-levels, where none is asked for.
pub const LEVELS: [&str; 2] = ["s", "3"];
/// The size that must hold: everything that the decoder of one model family, tokenizer and sampler
/// link, what they use of libm and compiler_builtins included, at the level that boards use.
const LIMIT: u64 = 50 * 1024;
const LIMIT_TARGET: &str = "thumbv7m-none-eabi";
const LIMIT_LEVEL: &str = "s";
const LIMITED: &str = "+sampler";
/// Columns of the table of sizes: name, and features of `boards/check`.
const COLUMNS: [(&str, &str); 8] = [
    ("llama", "decoder,llama"),
    ("opt", "decoder,opt"),
    ("both", "decoder,llama,opt"),
    ("+tokenizer", "decoder,llama,tokenizer"),
    (LIMITED, "decoder,llama,tokenizer,sampler"),
    ("+fat", "decoder,llama,tokenizer,sampler,fat"),
    ("+calibrate", "decoder,llama,tokenizer,sampler,fat,calibrate"),
    ("board", "board,llama"),
];
/// A `RefCell` of `embedded_sdmmc::SdCard`, which is not ours.
const ALREADY_BORROWED: &str = "core::cell::panic_already_borrowed";
/// What a firmware that can panic calls; the check's own panic handler calls it.
const REACHED: &str = "a_panic_can_be_reached";

/// All checks, at both levels.
pub fn all() -> Result<()> {
    ["panics", "sizes", "c"].iter().try_for_each(|what| check(what, &LEVELS).unwrap_or(Ok(())))
}

/// The check of that name, if there is one, at some opt-levels.
pub fn check(what: &str, levels: &[&str]) -> Option<Result<()>> {
    let targets: BTreeSet<&str> = MACHINES.iter().map(|machine| machine.target).collect();
    let everywhere = |panics: &dyn Fn(&str, &str) -> Result<bool>| -> Result<()> {
        let mut failed = false;
        for target in &targets {
            for level in levels {
                failed |= panics(target, level)?;
            }
        }
        ensure!(!failed, "a panic can be reached");
        Ok(())
    };
    match what {
        "panics" => Some(everywhere(&|target, level| {
            // Elsewhere what panics may be inlined into its caller, and has no name then.
            let limited = target == LIMIT_TARGET && level == LIMIT_LEVEL;
            let spi = limited && spi_panics(target, level)?;
            Ok(panics(target, level, "default")? | spi)
        })),
        "c" => Some(everywhere(&|target, level| c_panics(target, level, "default"))),
        "sizes" => Some(levels.iter().try_for_each(|level| sizes(level))),
        _ => None,
    }
}

/// Shows that the checks fail where they must.
pub fn self_test() -> Result<()> {
    let found = c_panics(LIMIT_TARGET, LIMIT_LEVEL, "self-test")?;
    ensure!(found, "self-test: an index out of range in the C library went unnoticed");
    let found = panics(LIMIT_TARGET, LIMIT_LEVEL, "default,self-test")?;
    ensure!(found, "self-test: an index out of range went unnoticed");
    println!("self-test: noticed");
    Ok(())
}

/// Whether the panic handler is reached through a function of this name.
fn is_panic(name: &str) -> bool {
    let parts = [
        "core::panicking",
        "::panic_",
        "begin_unwind",
        "unwrap_failed",
        "expect_failed",
        "slice_error_fail",
        "_fail_rt",
        REACHED,
    ];
    parts.iter().any(|part| name.contains(part))
        || ["_fail", "_failed"].iter().any(|end| name.ends_with(end))
}

/// Links the firmware of `boards/check`.
fn link(target: &str, level: &str, features: &str, argument: &str) -> Result<PathBuf> {
    let line =
        format!("rustc --locked --target {target} --no-default-features --features {features}");
    let mut cargo = cargo("check", &line);
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level).arg("--").args(argument.split_whitespace());
    artifact(&mut cargo, "ripple-check")
}

/// Whether a panic can be reached in the firmware of these features; prints from where.
fn panics(target: &str, level: &str, features: &str) -> Result<bool> {
    let elf = match link(target, level, features, "") {
        Ok(elf) => {
            // The linker has said so already; by name as well, whatever the handler became.
            let names = said(llvm("llvm-nm")?.arg("-C").arg(&elf))?;
            if !names.lines().any(is_panic) {
                println!("{target}, opt-level {level}: no panic");
                return Ok(false);
            }
            elf
        }
        Err(error) if error.to_string().contains(REACHED) => {
            link(target, level, features, &format!("-Clink-arg=--defsym={REACHED}=0"))?
        }
        Err(error) => bail!(error),
    };
    println!("{target}, opt-level {level}: a panic can be reached:");
    show(&callers(&elf)?);
    Ok(true)
}

/// The same of a card on a SPI bus, but for the one panic of the driver that brings it up: that it is
/// used while it is used.
fn spi_panics(target: &str, level: &str) -> Result<bool> {
    let elf = link(target, level, "spi", &format!("-Clink-arg=--defsym={REACHED}=0"))?;
    let mut found = callers(&elf)?;
    found.retain(|(to, _)| to != ALREADY_BORROWED);
    match found.is_empty() {
        true => println!("a card over SPI, {target}, opt-level {level}: no panic of ours"),
        false => println!("a card over SPI, {target}, opt-level {level}: a panic can be reached:"),
    }
    show(&found);
    Ok(!found.is_empty())
}

/// Prints what panics, and from where.
fn show(calls: &BTreeSet<(String, String)>) {
    calls.iter().for_each(|(to, from)| println!("  {to}\n      from {from}"));
}

/// Every call of something that panics: what, and from where.
fn callers(elf: &Path) -> Result<BTreeSet<(String, String)>> {
    let text = said(llvm("llvm-objdump")?.args(["-d", "-C", "--no-show-raw-insn"]).arg(elf))?;
    let (mut seen, mut from) = (BTreeSet::new(), "");
    for line in text.lines() {
        let Some((_, name)) = line.split_once('<') else { continue };
        if let Some(name) = name.strip_suffix(">:") {
            from = name;
            continue;
        }
        let Some((name, _)) = name.rsplit_once('>') else { continue };
        let to = name.rsplit_once("+0x").map_or(name, |(function, _)| function);
        let within = is_panic(from) || from.contains("rust_begin_unwind");
        if is_panic(to) && !within {
            seen.insert((to.to_owned(), from.to_owned()));
        }
    }
    Ok(seen)
}

/// Whether a panic is left of the C library once all that its header declares is linked, and nothing
/// else; prints from where.
fn c_panics(target: &str, level: &str, features: &str) -> Result<bool> {
    let line = format!("build --locked --target {target} --features {features}");
    let mut cargo = cargo("../kernel/c", &line);
    let library = artifact(cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level), "ripple_c")?;
    let header = std::fs::read_to_string(root().join("kernel/c/include/ripple.h"))?;
    let names = header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '(');
    let names = names.filter_map(|word| word.split_once('(').map(|(name, _)| name));
    let mut functions: BTreeSet<&str> = names.filter(|name| name.starts_with("ripple_")).collect();
    if features.contains("self-test") {
        functions.insert("ripple_self_test");
    }
    let elf = library.with_file_name("c.elf");
    let mut linker = llvm("rust-lld")?;
    linker.args(["-flavor", "gnu", "--gc-sections", "-e", "ripple_open"]);
    linker.args(functions.iter().flat_map(|function| ["-u", function]));
    run(linker.arg(&library).arg("-o").arg(&elf))?;
    let names = said(llvm("llvm-nm")?.arg("-C").arg(&elf))?;
    if names.lines().any(|name| is_panic(name) || name.contains("rust_begin_unwind")) {
        println!("C library, {target}, opt-level {level}: a panic can be reached:");
        show(&callers(&elf)?);
        return Ok(true);
    }
    let (count, bytes) = (functions.len(), linked(&elf)?);
    println!(
        "C library, {target}, opt-level {level}: no panic in {count} functions, {bytes} bytes"
    );
    Ok(false)
}

/// Prints bytes by crate, and by module of this project's; fails if the kernel is too large.
fn sizes(level: &str) -> Result<()> {
    println!(
        "\n{LIMIT_TARGET}, opt-level {level}: bytes; +: added to llama; board: what a chat needs"
    );
    // The last row.
    let all = "\u{10FFFF}all_but_ripple_check";
    let mut rows: BTreeMap<String, [u64; COLUMNS.len()]> = BTreeMap::new();
    for (column, (_, features)) in COLUMNS.into_iter().enumerate() {
        let elf = link(LIMIT_TARGET, level, features, "")?;
        let mut own = 0;
        for symbol in symbols(&elf)?.iter().filter(|symbol| "tTrR".contains(symbol.kind)) {
            let owner = owner(&symbol.name);
            if owner == "ripple_check" {
                own += symbol.bytes;
            }
            rows.entry(owner).or_default()[column] += symbol.bytes;
        }
        // Without that package, whose code stands for the application's.
        rows.entry(all.to_owned()).or_default()[column] = linked(&elf)? - own;
    }
    println!("{:28}{}", "", COLUMNS.map(|(name, _)| format!(" {name:>10}")).concat());
    for (owner, bytes) in &rows {
        let owner = owner.trim_start_matches('\u{10FFFF}');
        println!("{owner:28}{}", bytes.map(|bytes| format!(" {bytes:>10}")).concat());
    }
    let limited = COLUMNS.iter().position(|(name, _)| *name == LIMITED);
    let bytes = limited.and_then(|column| Some(rows.get(all)?[column]));
    let bytes = bytes.context("nothing is limited")?;
    ensure!(
        level != LIMIT_LEVEL || bytes <= LIMIT,
        "the kernel with one model family is larger than {LIMIT} bytes at opt-level {level}"
    );
    Ok(())
}

/// Whose code or constants a symbol is: a module of this project's, or a crate.
fn owner(name: &str) -> String {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let word = |text: &str| text.chars().take_while(|&c| is_word(c)).collect::<String>();
    // What is generic belongs to the first of the two it is made for.
    let ours = ["ripple_kernel::", "ripple_hal::"].map(|of| Some((name.find(of)?, of)));
    if let Some((at, of)) = ours.into_iter().flatten().min() {
        return format!("{of}{}", word(&name[at + of.len()..]));
    }
    let path = name.split_once("::").map(|(first, _)| first);
    match path.and_then(|first| first.rsplit(['<', '&', '*', ' ', '[']).next()) {
        Some(krate) if !krate.is_empty() && krate.chars().all(is_word) => krate.to_owned(),
        _ if name.contains("anon") => "(constants)".to_owned(),
        _ => "compiler_builtins".to_owned(),
    }
}

/// Bytes of code and constants.
fn linked(elf: &Path) -> Result<u64> {
    let of = |(name, _): &(String, u64)| name == ".text" || name == ".rodata";
    Ok(sections(elf)?.into_iter().filter(of).map(|(_, bytes)| bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::{is_panic, owner};

    #[test]
    fn a_symbol_is_a_modules_or_a_crates() {
        assert_eq!(
            owner("<ripple_kernel::cache::Cache as core::fmt::Debug>::fmt"),
            "ripple_kernel::cache"
        );
        assert_eq!(
            owner("<core::slice::Iter<ripple_hal::block::Block>>::next"),
            "ripple_hal::block"
        );
        assert_eq!(owner("<&mut core::fmt::Formatter as X>::y"), "core");
        assert_eq!(owner("libm::math::expf"), "libm");
        assert_eq!(owner(".Lanon.1234"), "(constants)");
        assert_eq!(owner("__aeabi_memcpy"), "compiler_builtins");
    }

    #[test]
    fn functions_that_panic_are_known() {
        assert!(is_panic("core::panicking::panic_bounds_check") && is_panic("core::cell::panic_x"));
        assert!(is_panic("<[u8]>::copy_from_slice::len_mismatch_fail"));
        assert!(!is_panic("ripple_kernel::read::fails") && !is_panic("failure"));
    }
}
