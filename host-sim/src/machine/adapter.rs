//! Adapters of an image, in memory and in a file.
//!
//! In: a path, or numbers. Out: [`Saved`], checked against the image it is for.

use crate::process::failure::{bad_input, check_there};
use crate::process::output::write_whole;
use anyhow::{Context, Result, anyhow};
use ripple_kernel::adapter::{Adapter, AdapterError, AdapterFile, AdapterShape};
use ripple_kernel::image::Header;
use std::path::Path;

/// Adapters of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// What they are like.
    pub shape: AdapterShape,
    /// Steps that they were trained for.
    pub steps: u32,
    /// See [`AdapterShape::numbers`].
    pub numbers: Vec<f32>,
}

impl Saved {
    /// Reads the adapters of the image with this `header`.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is of another image.
    pub fn read(path: &Path, header: &Header) -> Result<Self> {
        check_there(path)?;
        let read = || -> Result<Self> {
            let bytes = std::fs::read(path).context("the adapter cannot be read")?;
            let (words, rest) = bytes.as_chunks();
            let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
            let file = AdapterFile::parse(&words, header)?;
            if !rest.is_empty() {
                let needed = 4 * words.len() as u32;
                return Err(AdapterError::Length { needed, found: bytes.len() as u32 }.into());
            }
            let AdapterFile { shape, steps, numbers } = file;
            Ok(Self { shape, steps, numbers: numbers.to_vec() })
        };
        read().with_context(|| path.display().to_string()).map_err(bad_input)
    }

    /// Writes them as those of the image with this `header`: the whole file, or what was there stays.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, header: &Header) -> Result<()> {
        let file = AdapterFile { shape: self.shape, steps: self.steps, numbers: &self.numbers };
        write_whole(path, |out| {
            for word in file.header(header) {
                out.write_all(&word.to_le_bytes())?;
            }
            for x in &self.numbers {
                out.write_all(&x.to_le_bytes())?;
            }
            Ok(())
        })
    }
}

/// Adapters and the scratch that a decoder needs with them.
pub(crate) struct Lent {
    shape: AdapterShape,
    numbers: Vec<f32>,
    inner: Vec<f32>,
}

impl Lent {
    /// For passes of `batch` positions.
    pub fn new(saved: &Saved, batch: u32) -> Self {
        let inner = vec![0.0; (batch.max(1) * saved.shape.rank) as usize];
        Self { shape: saved.shape, numbers: saved.numbers.clone(), inner }
    }

    pub fn lend(&mut self) -> Adapter<'_> {
        Adapter { shape: self.shape, numbers: &self.numbers, inner: &mut self.inner }
    }
}

/// An adapter that a decoder does not take.
pub(crate) fn refused(error: AdapterError) -> anyhow::Error {
    bad_input(anyhow!("{error}"))
}
