//! What a file is, by what is in it: the one place that tells.
//!
//! In: a path. Out: its [`Kind`], or why it cannot be read. Looks at the first bytes, never at the name,
//! and reads nothing of what follows them.

use super::{gguf, llama2c};
use anyhow::{Context, Result, anyhow};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Bytes that are looked at: the names of a safetensors file's metadata are among them.
const LOOKED_AT: u64 = 64 * 1024;
/// Longest header of a safetensors file.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image for a card.
    Image,
    /// A model file of `ripple import`.
    Model,
    /// A folder: a Hugging Face checkpoint, if anything.
    Folder,
    /// A GGUF file.
    Gguf,
    /// A model of llama2.c.
    Llama2c,
    /// An activation trace.
    Trace,
    /// A placement, or a part of one.
    Placement,
    /// A trained predictor.
    Predictor,
    /// A session, as `/save` writes it.
    Session,
    /// Another safetensors file.
    Safetensors,
    /// A ZIP archive, as PyTorch saves weights.
    Archive,
    /// What `git lfs` leaves in place of a file.
    LfsPointer,
    /// A card or a disk: block 0 is a boot sector.
    Card,
    /// Nothing at all.
    Empty,
    /// What cannot be looked at without being used up: a pipe.
    Stream,
    /// None of these.
    Other,
}

impl Kind {
    /// What `path` leads to.
    ///
    /// # Errors
    /// When nothing is there, or it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => anyhow!("{shown}: no such file"),
            _ => anyhow::Error::new(error).context(format!("{shown}: cannot be read")),
        })?;
        if metadata.is_dir() {
            return Ok(Self::Folder);
        }
        if !metadata.is_file() {
            return Ok(Self::Stream);
        }
        let mut begin = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LOOKED_AT).read_to_end(&mut begin))
            .with_context(|| format!("{shown}: cannot be read"))?;
        Ok(Self::of_bytes(&begin))
    }

    /// What a file is that begins with `begin`: its first 64 KiB, or all of it.
    pub fn of_bytes(begin: &[u8]) -> Self {
        let starts = |with: &[u8]| begin.starts_with(with);
        match begin {
            [] => Self::Empty,
            _ if starts(&ripple_kernel::image::MAGIC) => Self::Image,
            _ if starts(b"RIPPLEKV") => Self::Session,
            _ if starts(&gguf::file::MAGIC) => Self::Gguf,
            _ if starts(b"PK\x03\x04") => Self::Archive,
            _ if starts(b"version https://git-lfs") => Self::LfsPointer,
            _ if Self::format_of(begin).starts_with(b"ripple-placement") => Self::Placement,
            _ if Self::format_of(begin).starts_with(b"ripple-predictor") => Self::Predictor,
            _ if begin.get(510..512) == Some(&[0x55, 0xAA]) => Self::Card,
            _ => Self::of_safetensors(begin).unwrap_or_else(|| {
                if llama2c::looks_like(begin) { Self::Llama2c } else { Self::Other }
            }),
        }
    }

    /// What a JSON object that begins so says first, if that is its format.
    fn format_of(begin: &[u8]) -> &[u8] {
        let mut rest = begin;
        for word in ["{", "\"format\"", ":", "\""] {
            let Some(behind) = rest.trim_ascii_start().strip_prefix(word.as_bytes()) else {
                return &[];
            };
            rest = behind;
        }
        rest
    }

    fn of_safetensors(begin: &[u8]) -> Option<Self> {
        let (length, header) = begin.split_first_chunk()?;
        let length = u64::from_le_bytes(*length);
        if length > LONGEST_HEADER || header.first() != Some(&b'{') {
            return None;
        }
        let header = &header[..header.len().min(length as usize)];
        let holds = |name: &[u8]| header.windows(name.len()).any(|window| window == name);
        Some(if holds(b"{\"__metadata__\":{\"ripple\":") {
            Self::Model
        } else if holds(b"\"active\":") {
            Self::Trace
        } else {
            Self::Safetensors
        })
    }

    /// Whether a model is read from it.
    pub const fn is_model(self) -> bool {
        matches!(self, Self::Model | Self::Folder | Self::Gguf | Self::Llama2c | Self::Safetensors)
    }

    /// What it is, in words that go on "found ...".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Image => "an image, as `ripple pack` writes it",
            Self::Model => "a model file, as `ripple import` writes it",
            Self::Folder => "a folder",
            Self::Gguf => "a GGUF file",
            Self::Llama2c => "a model of llama2.c",
            Self::Trace => "an activation trace: `ripple place` orders neurons by it",
            Self::Placement => "a placement: `ripple pack` takes it",
            Self::Predictor => "a trained predictor: `ripple pack --trained` takes it",
            Self::Session => "a session: `/load` in `ripple run --interactive` takes it",
            Self::Safetensors => {
                "a safetensors file that `ripple import` did not write; give the directory of the checkpoint"
            }
            Self::Archive => {
                "a ZIP archive, as PyTorch saves weights; give the directory of the checkpoint"
            }
            Self::LfsPointer => "a Git LFS pointer in place of the file; run `git lfs pull`",
            Self::Card => {
                "a card or a disk with a boot sector; give the image that was written to it"
            }
            Self::Empty => "an empty file",
            Self::Stream => "a pipe or a device",
            Self::Other => "none of the formats that are known",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    fn safetensors(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 64]].concat()
    }

    #[test]
    fn what_is_inside_tells() {
        let mut sector = vec![0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xAA]);
        let llama2c: Vec<u8> =
            [64, 172, 5, 8, 4, 512, 512].iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
        for (bytes, kind) in [
            (b"RIPPLE\r\n\x04\0".to_vec(), Kind::Image),
            (b"RIPPLEKV".to_vec(), Kind::Session),
            (b"GGUF\x03\0\0\0".to_vec(), Kind::Gguf),
            (safetensors(r#"{"__metadata__":{"ripple":"{}"},"a":{}}"#), Kind::Model),
            (safetensors(r#"{"__metadata__":{"text":"t"},"active":{"dtype":"U8"}}"#), Kind::Trace),
            (safetensors(r#"{"model.embed_tokens.weight":{}}"#), Kind::Safetensors),
            (br#"{"format":"ripple-placement-1","model":"m"}"#.to_vec(), Kind::Placement),
            (b"{\n  \"format\" : \"ripple-placement-1\",".to_vec(), Kind::Placement),
            (br#"{"format":"ripple-predictor-1"}"#.to_vec(), Kind::Predictor),
            (b"PK\x03\x04".to_vec(), Kind::Archive),
            (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), Kind::LfsPointer),
            (sector, Kind::Card),
            (llama2c, Kind::Llama2c),
            (Vec::new(), Kind::Empty),
            (
                b"Once upon a time there was a text that is longer than a header.".to_vec(),
                Kind::Other,
            ),
            (vec![0; 4096], Kind::Other),
        ] {
            assert_eq!(Kind::of_bytes(&bytes), kind, "{:?}", &bytes[..bytes.len().min(40)]);
        }
    }

    #[test]
    fn a_missing_file_is_missing() {
        let error = Kind::of(std::path::Path::new("nowhere/at all")).unwrap_err().to_string();
        assert_eq!(error, "nowhere/at all: no such file");
    }
}
