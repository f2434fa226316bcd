//! Installs what boards need on Debian or a relative of it, and says what is there.
//!
//! As root, or with sudo at hand; run again, it changes nothing. Where the release has an older QEMU
//! than boards need, its backports are added as a source, from the mirror that is in use already.

use crate::shell::{command, run, said};
use anyhow::{Context, Result, ensure};
use ripple_machines::{MACHINES, Need, Source, State, needs};
use std::fs;
use std::process::Command;

const BACKPORTS: &str = "bookworm-backports";

/// Installs what is missing; fails when an emulated board could not run then.
pub fn setup() -> Result<()> {
    let missing: Vec<Need> =
        needs(&MACHINES).into_iter().filter(|need| need.look().0 != State::Ok).collect();
    let mut packages: Vec<&str> = Vec::new();
    for need in &missing {
        match need.source {
            Source::Target | Source::Component => run(&mut command(&need.install()))?,
            Source::Package(package) if !packages.contains(&package) => packages.push(package),
            Source::Package(_) | Source::Other(_) => {}
        }
    }
    if !packages.is_empty()
        && let Err(error) = install(&packages)
    {
        eprintln!("packages were not installed: {error:#}");
    }
    println!("what the boards need:");
    for need in needs(&MACHINES) {
        let (state, found) = need.look();
        let found = found.unwrap_or_default();
        println!("  {:8} {} {found}({})", state.words(), need.name, need.purpose);
        if state != State::Ok {
            println!("           {}", need.install());
        }
    }
    let emulated = MACHINES.into_iter().filter(|machine| machine.qemu.is_some());
    let wanting = needs(&emulated.collect::<Vec<_>>()).into_iter();
    let wanting = wanting.filter(|need| need.needed && need.look().0 != State::Ok);
    let wanting: Vec<&str> = wanting.map(|need| need.name).collect();
    ensure!(wanting.is_empty(), "emulated boards cannot run without {}", wanting.join(", "));
    Ok(())
}

/// Installs Debian packages.
fn install(packages: &[&str]) -> Result<()> {
    let mut from = "";
    let release = fs::read_to_string("/etc/os-release")?;
    if packages.contains(&"qemu-system-arm") && release.contains("VERSION_CODENAME=bookworm") {
        from = "--target-release bookworm-backports";
        let sources = sources();
        if !sources.contains(BACKPORTS) {
            let mirror = mirror(&sources).context("no Debian mirror in /etc/apt")?;
            let line = format!("deb {mirror} {BACKPORTS} main");
            let file = "/etc/apt/sources.list.d/backports.list";
            run(as_root("sh -c").arg(format!("echo '{line}' > {file}")))?;
        }
    }
    run(&mut as_root("apt-get update -q"))?;
    let install = "apt-get install -q -y --no-install-recommends";
    run(&mut as_root(&format!(
        "env DEBIAN_FRONTEND=noninteractive {install} {from} {}",
        packages.join(" ")
    )))
}

/// A command of root's.
fn as_root(line: &str) -> Command {
    let root = said(&mut command("id -u")).is_ok_and(|user| user.trim() == "0");
    command(&if root { line.to_owned() } else { format!("sudo -n {line}") })
}

/// Where packages come from: all of apt's lists.
fn sources() -> String {
    let lists = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let files = lists.map(|entry| entry.path()).chain(["/etc/apt/sources.list".into()]);
    files.filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// The first Debian mirror in `sources`, a list of either form.
fn mirror(sources: &str) -> Option<&str> {
    let active =
        sources.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = active.flat_map(str::split_whitespace);
    words.find(|word| word.trim_end_matches('/').ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::mirror;

    #[test]
    fn the_mirror_is_found_in_both_forms() {
        let old = "# deb http://no/debian x\ndeb [signed-by=/k] http://a/debian-security b main\n\
                   deb [arch=arm64] http://a/debian bookworm main\n";
        assert_eq!(mirror(old), Some("http://a/debian"));
        let new = "Types: deb\nURIs: http://b/debian/\nSuites: bookworm\n";
        assert_eq!(mirror(new), Some("http://b/debian/"));
        assert_eq!(mirror("deb http://a/ubuntu noble main\n"), None);
    }
}
