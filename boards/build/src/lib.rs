//! The build script of every board: finds or makes the image, checks that the model fits, and
//! writes what the firmware includes.
//!
//! In: a [`Board`]; `RIPPLE_CARD`, a folder with `model.img`, the image to embed (without it
//! the board's own, in `target/boards`, which is made by `ripple`). Out, in `OUT_DIR`: `plan.rs` with `PLAN`, the exact memory
//! plan, and `MAPPED`, the front of the image; `memory.x` where the board has one. And for the linker
//! `_stack_size`, the bytes that the board keeps for the stack. A model that does not fit fails the
//! build here, with the region and the bytes missing; what only the linker knows (code, drivers) it
//! checks. With the feature `learn` the plan has what learning takes as well, and a board with a
//! `board.x` and a `learn.x` has that one for its `memory.x`.

#[cfg(feature = "learn")]
mod learn;

use ripple_app::{Board, Budget};
use ripple_hal::BLOCK_BYTES;
use ripple_kernel::image::Header;
use ripple_kernel::{MemoryPlan, Region};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::{env, fs};

/// Prepares `board`; `section`: where the linker puts the mapped front of the image, if not with
/// other constants.
///
/// Ends the process with a message when the image cannot be made, or does not fit.
pub fn prepare(board: &Board, section: Option<&str>) {
    if let Err(message) = run(board, section) {
        eprintln!("error: {message}");
        exit(1);
    }
}

fn run(board: &Board, section: Option<&str>) -> Result<(), String> {
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?);
    let folder =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| format!("the folder: {e}"))?);
    let image = image(board, &folder)?;
    let bytes = fs::read(&image).map_err(|e| format!("{}: {e}", image.display()))?;
    let front = bytes.get(..bytes.len().min(64 * BLOCK_BYTES)).unwrap_or(&bytes);
    let header = Header::parse(front).map_err(|e| format!("{}: {e}", image.display()))?;
    let budget = Budget::of(board, &header);
    budget.check(board).map_err(|e| {
        format!(
            "{}: {e}\n{}\nsmaller: the options of `{}` in boards/app/src/board.rs, or another model",
            image.display(),
            parts(board, &budget),
            board.name
        )
    })?;
    let mapped = bytes.get(..budget.mapped).ok_or("the image ends before its FFN")?;
    write(&out.join("mapped.bin"), mapped)?;
    write(&out.join("plan.rs"), source(&budget.plan, mapped.len(), section).as_bytes())?;
    #[cfg(feature = "learn")]
    learn::append(&out.join("plan.rs"), board, &header)?;
    // A `memory.x` of the folder itself is what the linker takes, whatever is written here.
    let own = if cfg!(feature = "learn") { "learn.x" } else { "board.x" };
    if let Some(name) = [own, "memory.x"].into_iter().find(|name| folder.join(name).exists()) {
        let memory = folder.join(name);
        let text = fs::read(&memory).map_err(|e| format!("{}: {e}", memory.display()))?;
        write(&out.join("memory.x"), &text)?;
        println!("cargo:rerun-if-changed={name}");
    }
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=--defsym=_stack_size={}", board.stack);
    Ok(())
}

/// What RAM and flash would hold, in bytes.
fn parts(board: &Board, budget: &Budget) -> String {
    let regions = Region::ALL.map(|region| {
        let bytes = budget.plan.region_bytes(region);
        format!("{} {bytes} + ", region.name())
    });
    format!(
        "ram = {}prompt {} + drivers {} + stack {}; flash = mapped {} + code {}",
        regions.concat(),
        budget.desk,
        budget.drivers,
        board.stack,
        budget.mapped,
        budget.code
    )
}

/// The image to embed.
fn image(board: &Board, folder: &Path) -> Result<PathBuf, String> {
    println!("cargo:rerun-if-env-changed=RIPPLE_CARD");
    let root = folder.ancestors().nth(2).ok_or("the board is not in boards/BOARD")?;
    let card = env::var_os("RIPPLE_CARD");
    let image = match &card {
        Some(card) => Path::new(card).join("model.img"),
        None => root.join("target/boards").join(board.name).join("model.img"),
    };
    println!("cargo:rerun-if-changed={}", image.display());
    if let Some(warning) = warning(board, &image, card.is_some()) {
        println!("cargo:warning={warning}");
    }
    if card.is_none() && !image.exists() {
        let (machine, _) = ripple_machines::by_name(board.name).ok_or("no such machine")?;
        ripple_machines::image(root, &ripple_machines::ripple(root)?, &machine, None)?;
    }
    Ok(image)
}

/// What is said of an image that is not the board's own: `RIPPLE_CARD` may be set for another board, whose image
/// still fits this one.
fn warning(board: &Board, image: &Path, said: bool) -> Option<String> {
    let shown = image.display();
    said.then(|| format!("{}: the image is {shown}, as RIPPLE_CARD says", board.name))
}

/// What the firmware includes.
fn source(plan: &MemoryPlan, mapped: usize, section: Option<&str>) -> String {
    let MemoryPlan { work, staging, cache, index, kv } = plan;
    let section = section.map_or(String::new(), |section| {
        format!("#[unsafe(link_section = {section:?})]\n#[allow(unsafe_code, reason = \"a section of its own\")]\n")
    });
    format!(
        "/// Memory by region that the image needs.\n\
         pub const PLAN: ripple_kernel::MemoryPlan = ripple_kernel::MemoryPlan {{\n    \
         work: {work},\n    staging: {staging},\n    cache: {cache},\n    index: {index},\n    kv: {kv},\n}};\n\
         #[repr(C, align(32))]\nstruct Front([u8; {mapped}]);\n\
         {section}static FRONT: Front = Front(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/mapped.bin\")));\n\
         /// The front of the image, up to the FFN.\n\
         pub static MAPPED: &[u8] = &FRONT.0;\n"
    )
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ripple_app::board::PICO2;

    #[test]
    fn an_image_that_the_environment_names_is_named_with_its_board() {
        let image = Path::new("walk/model.img");
        let said = warning(&PICO2, image, true).unwrap();
        assert_eq!(said, "pico2: the image is walk/model.img, as RIPPLE_CARD says");
        assert_eq!(warning(&PICO2, image, false), None);
    }
}
