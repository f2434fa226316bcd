//! Installs what boards need on Debian or a relative of it, as root or with sudo at hand; run again, it
//! changes nothing. Where the release has an older QEMU than boards need, its backports are added
//! as a source, from the mirror that is in use already.

use crate::shell::{command, run, said};
use anyhow::{Context, Result, ensure};
use ripple_machines::{MACHINES, Machine, Need, Source, State, needs};
use std::process::Command;

const RELEASE: &str = "bookworm";
const BACKPORTS: &str = "bookworm-backports";

/// Installs what is missing; fails when an emulated board could not run then.
pub fn setup() -> Result<()> {
    let mut packages = Vec::new();
    for need in missing(&MACHINES) {
        match need.source {
            Source::Target | Source::Component => run(&mut command(&need.install()))?,
            Source::Package(package) => packages.push(package),
            Source::Other(_) => {}
        }
    }
    if !packages.is_empty()
        && let Err(error) = install(&packages)
    {
        eprintln!("packages were not installed: {error:#}");
    }
    for need in missing(&MACHINES) {
        println!("{}: {} ({}): {}", need.name, need.look().0.name(), need.purpose, need.install());
    }
    let emulated: Vec<Machine> = MACHINES.into_iter().filter(|m| m.qemu.is_some()).collect();
    let wanting = missing(&emulated).any(|need| need.needed);
    ensure!(!wanting, "the emulated boards cannot run");
    println!("the emulated boards have what they need");
    Ok(())
}

/// What of the needs of `boards` is not here.
fn missing(boards: &[Machine]) -> impl Iterator<Item = Need> {
    needs(boards).into_iter().filter(|need| need.look().0 != State::Ok)
}

/// Installs Debian packages.
fn install(packages: &[&str]) -> Result<()> {
    let mut release = "";
    // `http://deb.debian.org/debian/ bookworm`, a line for each that apt knows.
    let sources = said(command("apt-get indextargets --format").arg("$(REPO_URI) $(RELEASE)"))?;
    let source = |name| sources.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' '));
    if packages.contains(&"qemu-system-arm") && source(RELEASE).is_some() {
        release = "--target-release bookworm-backports";
        if source(BACKPORTS).is_none() {
            let mirror = source(RELEASE).context("no mirror")?;
            let file = "/etc/apt/sources.list.d/backports.list";
            let add = format!("echo 'deb {mirror} {BACKPORTS} main' > {file}");
            run(as_root("sh -c").arg(add))?;
        }
    }
    run(&mut as_root("apt-get update -q"))?;
    let install =
        "env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends";
    run(as_root(&format!("{install} {release}")).args(packages))
}

/// A command of root's.
fn as_root(line: &str) -> Command {
    let root = said(&mut command("id -u")).is_ok_and(|user| user.trim() == "0");
    command(&if root { line.to_owned() } else { format!("sudo -n {line}") })
}
