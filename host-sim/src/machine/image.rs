//! The bytes of an image: mapped from its file, or made here.
//!
//! In: a path, or bytes. Out: [`ImageBytes`], which are shared and never copied. Knows nothing of what they
//! mean.

use anyhow::{Context, Result};
use memmap2::Mmap;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The bytes of an image; a clone is the same bytes.
#[derive(Clone, Debug)]
pub struct ImageBytes(Arc<Held>);

#[derive(Debug)]
enum Held {
    Mapped(Mmap),
    Made(Vec<u8>),
}

impl ImageBytes {
    /// Maps the file at `path`; what cannot be mapped, a pipe, is read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("{}: cannot be read", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
            return Self::map(&file).with_context(cannot);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(cannot)?;
        Ok(bytes.into())
    }

    /// Maps `file`, which is not empty.
    ///
    /// # Errors
    /// When the system cannot map it.
    pub fn map(file: &File) -> Result<Self> {
        // SAFETY: the map is only read, as bytes, so no bit pattern is invalid. Another process that
        // shortens the file meanwhile would end this one by SIGBUS; the command itself replaces files and
        // never shortens one in place.
        #[allow(unsafe_code, reason = "an image can be larger than memory: it is mapped, not read")]
        let mapped = unsafe { Mmap::map(file) }?;
        Ok(Self(Arc::new(Held::Mapped(mapped))))
    }
}

impl Deref for ImageBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Held::Mapped(bytes) => bytes,
            Held::Made(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for ImageBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for ImageBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Held::Made(bytes)))
    }
}
