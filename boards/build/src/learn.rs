//! What a firmware that learns includes besides.
//!
//! In: a board, the header of an image, `RIPPLE_LESSON`, the name of a lesson (without it the board's own). Out:
//! `LEARN` and `LESSON` behind what `plan.rs` has. A lesson that does not fit fails the build.

use ripple_app::Board;
use ripple_app::learn::{ALL, LearnPlan, Lesson};
use ripple_kernel::image::Header;
use std::path::Path;
use std::{env, fs};

/// Appends to the file `plan`.
pub fn append(plan: &Path, board: &Board, header: &Header) -> Result<(), String> {
    println!("cargo:rerun-if-env-changed=RIPPLE_LESSON");
    let lesson = match env::var("RIPPLE_LESSON") {
        Ok(name) => Lesson::by_name(&name).ok_or_else(|| {
            format!("RIPPLE_LESSON={name}: expected one of {}", ALL.map(|l| l.name).join(", "))
        })?,
        Err(_) => Lesson::of(board.name),
    };
    let LearnPlan { arena, staging, tokens, least } =
        LearnPlan::for_model(&header.geometry, lesson);
    let bytes = lesson.bytes;
    let place = ALL.iter().position(|other| other.name == lesson.name).unwrap_or(0);
    if tokens == 0 || least > bytes {
        return Err(format!(
            "lesson `{}` of {}: a step of one token and a story need {least} bytes, there are {bytes}",
            lesson.name, board.name
        ));
    }
    let mut text = fs::read_to_string(plan).map_err(|e| format!("{}: {e}", plan.display()))?;
    text += &format!(
        "/// Memory that learning takes.\n\
         pub const LEARN: ripple_app::learn::LearnPlan = ripple_app::learn::LearnPlan {{\n    \
         arena: {arena},\n    staging: {staging},\n    tokens: {tokens},\n    least: {least},\n}};\n\
         const _: () = assert!(LEARN.bytes() <= {bytes});\n\
         /// What is learnt.\n\
         pub static LESSON: &ripple_app::learn::Lesson = ripple_app::learn::ALL[{place}];\n"
    );
    super::write(plan, text.as_bytes())
}
