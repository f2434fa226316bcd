//! The demo models that come with the source.
//!
//! In: a name. Out: its Hugging Face directory. Knows nothing of what is inside.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The shipped models, smallest first; described in `host-sim/models/README.md`.
const NAMES: [&str; 5] = ["novel-nano", "story-nano", "novel-opt", "novel-wide", "novel-small"];

/// Names of the shipped models, smallest first.
pub const fn list() -> &'static [&'static str] {
    &NAMES
}

/// The directory of the shipped model `name`: `config.json`, `model.safetensors`,
/// `tokenizer.json`, `profile.txt`, `held-out.txt` and `golden.json`.
///
/// # Errors
/// When no model has that name, or when the source tree this binary was built from is gone.
pub fn path(name: &str) -> Result<PathBuf> {
    if !NAMES.contains(&name) {
        bail!("no demo model is called `{name}`; there are: {}", NAMES.join(", "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    if !path.is_dir() {
        bail!(
            "{}: the demo model `{name}` is not there; run from the clone that this was built in",
            path.display()
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::{list, path};

    #[test]
    fn every_listed_model_is_shipped() {
        for name in list() {
            assert!(path(name).unwrap().join("model.safetensors").is_file(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = path("story-giga").unwrap_err().to_string();
        assert!(error.contains("`story-giga`") && error.contains("story-nano"), "{error}");
    }
}
