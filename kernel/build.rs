//! Tells `math` which instructions the core has: `cfg(ripple_isa = "..")`.
//!
//! `cfg(target_feature)` shows `dsp` and `mve` to nightly compilers alone, so this reads what the
//! target's name and `-C target-cpu`, `-C target-feature` say. Where they say nothing, the portable
//! loops are used: the results are the same.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(ripple_isa, values(\"portable\", \"armv7m\", \"armv7em\", \"mve\", \"neon\", \"x86\"))"
    );
    let variable = |name| env::var(name).unwrap_or_default();
    let isa = isa(&variable("TARGET"), &variable("CARGO_ENCODED_RUSTFLAGS"));
    println!("cargo::rustc-cfg=ripple_isa=\"{isa}\"");
}

/// What the inner loops are written for: Thumb-2 alone, with the DSP extension (which every ARMv7-A core
/// has, in ARM state too), with Helium; AArch64 with vectors; x86-64 with those that it turns out to have.
fn isa(target: &str, flags: &str) -> &'static str {
    let miri = env::var_os("CARGO_CFG_MIRI").is_some();
    let has = |feature, cpus: &[&str]| {
        let set =
            |sign| flags.split(['\x1f', '=', ',']).any(|flag| flag == format!("{sign}{feature}"));
        !set('-')
            && (set('+') || cpus.iter().any(|cpu| flags.contains(&format!("target-cpu={cpu}"))))
    };
    let has_not =
        |feature| flags.split(['\x1f', '=', ',']).any(|flag| flag == format!("-{feature}"));
    const HELIUM: [&str; 3] = ["cortex-m52", "cortex-m55", "cortex-m85"];
    const DSP: [&str; 2] = ["cortex-m33", "cortex-m35p"];
    match target.split('-').next() {
        Some("thumbv7m") => "armv7m",
        Some("thumbv7em") => "armv7em",
        Some("thumbv8m.main") if has("mve", &HELIUM) => "mve",
        Some("thumbv8m.main") if has("dsp", &HELIUM) || has("dsp", &DSP) => "armv7em",
        Some("thumbv8m.main") => "armv7m",
        Some("armv7a") => "armv7em",
        Some("aarch64") if !target.ends_with("softfloat") && !has_not("neon") => "neon",
        // Bare metal keeps to registers that need no setting up; Miri interprets no `cpuid`.
        Some("x86_64") if !target.contains("-none") && !target.ends_with("-uefi") && !miri => "x86",
        _ => "portable",
    }
}
