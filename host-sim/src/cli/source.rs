//! What a path of the command line stands for: an image, a model, or the name of a demo model.
//!
//! In: a path. Out: what is there, opened. A file is known by what is in it.

use crate::import::demo;
use crate::import::kind::Kind;
use crate::import::{Options, import_with};
use crate::machine::ImageBytes;
use crate::model::Model;
use crate::process::failure::bad_input;
use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};

/// What was found.
pub enum Source {
    /// An image.
    Image(ImageBytes),
    /// A model.
    Model(Box<Found>),
}

/// A model, and where it was found.
pub struct Found {
    pub model: Model,
    /// Where its texts are, if it has any: its own folder, or that of its file.
    pub folder: PathBuf,
}

impl Found {
    /// `profile.txt` beside the model, if it is there.
    pub fn profile(&self) -> Option<PathBuf> {
        Some(self.folder.join("profile.txt")).filter(|path| path.is_file())
    }
}

/// The folder of the demo model that `path` names; nothing where a file has that name.
pub fn demo_folder(path: &Path) -> Result<Option<PathBuf>> {
    match path.to_str() {
        Some(name) if !path.exists() && demo::list().contains(&name) => demo::path(name).map(Some),
        _ => Ok(None),
    }
}

/// Opens an image, or reads a model.
///
/// # Errors
/// When neither is there.
pub fn open(path: &Path) -> Result<Source> {
    if let Some(folder) = demo_folder(path)? {
        return Ok(Source::Model(Box::new(read(folder)?)));
    }
    let kind = Kind::of(path).map_err(|error| {
        let demos = demo::list().join(", ");
        anyhow!("{error:#}; expected an image, a model or the name of a demo model ({demos})")
    });
    match kind.map_err(bad_input)? {
        Kind::Image | Kind::Stream => image(path).map(Source::Image),
        kind if !kind.is_model() => Err(bad_input(anyhow!(
            "{}: expected an image, as `ripple pack` writes it, or a model, found {}",
            path.display(),
            kind.words()
        ))),
        _ => Ok(Source::Model(Box::new(read(path.to_owned())?))),
    }
}

/// Reads a model, or the demo model of that name.
///
/// # Errors
/// When there is none.
pub fn open_model(path: &Path) -> Result<Found> {
    read(demo_folder(path)?.unwrap_or_else(|| path.to_owned()))
}

/// As [`open`], and a model whose neurons are never inactive is read as it is: for what depends on shapes
/// alone.
///
/// # Errors
/// As [`open`].
pub fn open_shape(path: &Path, options: &Options<'_>) -> Result<Source> {
    match Kind::of(path) {
        Ok(Kind::Folder | Kind::Gguf | Kind::Llama2c) => {
            let model = import_with(path, options).map_err(bad_input)?;
            Ok(Source::Model(Box::new(Found { model, folder: folder_of(path) })))
        }
        _ => open(path),
    }
}

/// Opens an image.
///
/// # Errors
/// When it cannot be read, or is something else that has a name.
pub fn open_image(path: &Path) -> Result<ImageBytes> {
    let kind = Kind::of(path).map_err(bad_input)?;
    match kind {
        // What has no name is told by whoever reads the header.
        Kind::Image | Kind::Stream | Kind::Other | Kind::Empty => image(path),
        kind => Err(bad_input(anyhow!(
            "{}: expected an image, as `ripple pack` writes it, found {}",
            path.display(),
            kind.words()
        ))),
    }
}

fn image(path: &Path) -> Result<ImageBytes> {
    ImageBytes::open(path).map_err(bad_input)
}

fn read(path: PathBuf) -> Result<Found> {
    let model = Model::load(&path)?;
    Ok(Found { model, folder: folder_of(&path) })
}

/// Where the texts of a model at `path` would be.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.to_owned(),
        false => path.parent().unwrap_or(Path::new("")).to_owned(),
    }
}
