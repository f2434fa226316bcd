//! The demo models that come with the command.
//!
//! In: a name. Out: its Hugging Face directory: the one in the source, or one in the user's cache that
//! the files in the command are unpacked to. Knows nothing of what is inside.

use crate::process::output::write_whole;
use anyhow::{Context, Result, bail};
use ripple_models::{ALL, DemoModel};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names of the shipped models, smallest first; described in `host-sim/models/README.md`.
pub fn list() -> [&'static str; ALL.len()] {
    ALL.each_ref().map(|model| model.name)
}

/// The directory of the shipped model `name`: `config.json`, `model.safetensors`,
/// `tokenizer.json`, `profile.txt`, `held-out.txt` and `golden.json`.
///
/// # Errors
/// When no model has that name, or when its files cannot be unpacked.
pub fn path(name: &str) -> Result<PathBuf> {
    let Some(model) = ALL.iter().find(|model| model.name == name) else {
        bail!("no demo model is called `{name}`; there are: {}", list().join(", "));
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    if source.is_dir() { Ok(source) } else { unpack(model, &cache()?) }
}

/// The folder where a user's programs keep what they can make again.
fn cache() -> Result<PathBuf> {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .or_else(|| folder("LOCALAPPDATA"))
        .context("no folder to unpack the demo model to; set XDG_CACHE_HOME to one")
}

/// Unpacks `model` below `cache`, but for the files that are there already.
fn unpack(model: &DemoModel, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("ripple").join(env!("CARGO_PKG_VERSION")).join(model.name);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, bytes) in model.files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        write_whole(&path, |file| Ok(file.write_all(bytes)?))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::{ALL, list, path, unpack};
    use std::fs;

    #[test]
    fn every_listed_model_is_shipped() {
        for name in list() {
            assert!(path(name).unwrap().join("model.safetensors").is_file(), "{name}");
        }
    }

    #[test]
    fn unpacked_models_are_those_of_the_source() {
        let cache = tempfile::tempdir().unwrap();
        for model in &ALL {
            let (source, unpacked) =
                (path(model.name).unwrap(), unpack(model, cache.path()).unwrap());
            let names = |path| fs::read_dir(path).unwrap().map(|file| file.unwrap().file_name());
            for name in names(&unpacked) {
                let bytes = fs::read(unpacked.join(&name)).unwrap();
                assert_eq!(fs::read(source.join(&name)).unwrap(), bytes, "{name:?}");
            }
            assert_eq!(names(&unpacked).count(), model.files.len());
        }
    }

    #[test]
    fn a_damaged_file_is_unpacked_again() {
        let cache = tempfile::tempdir().unwrap();
        let config = unpack(&ALL[0], cache.path()).unwrap().join("config.json");
        fs::write(&config, "{}").unwrap();
        unpack(&ALL[0], cache.path()).unwrap();
        assert_eq!(fs::read(config).unwrap(), ALL[0].files[0].1);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = path("story-giga").unwrap_err().to_string();
        assert!(error.contains("`story-giga`") && error.contains("story-nano"), "{error}");
    }
}
